#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Checks that rpmlint accepts the spec, that rpmbuild builds it without network
# from the files of `make dist`, and that the packages have the files of `make
# install`.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh deb

spec=packaging/rusttcti.spec
work_in

# Any complaint that packaging/rpmlint.toml does not explain is a failure.
lint() {
    rpmlint --config packaging/rpmlint.toml "$@" >"$work/lint" 2>&1 || true
    grep -q ' 0 errors, 0 warnings' "$work/lint" || fail rpmlint "$work/lint"
}
lint "$spec"
grep -qx "Version: *$(version)" "$spec" || fail "$spec is not of version $(version)"

scripts/dist.sh "$work/dist" >/dev/null
unset CARGO_TARGET_DIR
# Debian's packages are not in rpm's database: --nodeps.
quietly "$work/log" rpmbuild -bb --nodeps --define "_topdir $work/rpm" \
    --define "_sourcedir $work/dist" "$spec"
mapfile -t packages < <(find "$work/rpm/RPMS" -name '*.rpm' | sort)
lint "${packages[@]}"

# Documentation is rpm's own affair, and it compresses the manual.
for package in "${packages[@]}"; do
    rpm -qlp --noartifact "$package"
done | grep -v -e '^/usr/share/doc/' -e '^/usr/share/licenses/' | sed '/man/s/\.gz$//' | sort >"$work/packaged"
mkdir "$work/unpacked"
for package in "${packages[@]}"; do
    rpm2archive "$package"
    tar -xzf "$package.tgz" -C "$work/unpacked"
done
libdir="$(rpm --eval '%{_libdir}')"
install_into "$work/stage" LIBDIR="$libdir" \
    MODULE="$work/unpacked$libdir/libtss2-tcti-rusttcti.so.0"
(cd "$work/stage" && find . ! -type d | sed 's/^\.//' | sort) >"$work/installed"
diff -u "$work/installed" "$work/packaged"
basename -a "${packages[@]}"
echo "check-rpm: builds, and has what make install installs"
