#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# rpmlint accepts the spec, rpmbuild builds it without network from what
# `make dist` makes, and the packages have what `make install` installs.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh deb

spec=packaging/rusttcti.spec
version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Any complaint that packaging/rpmlint.toml does not explain is a failure.
lint() {
    rpmlint --config packaging/rpmlint.toml "$@" >"$work/lint" 2>&1 || true
    if ! grep -q ' 0 errors, 0 warnings' "$work/lint"; then
        cat "$work/lint" >&2
        echo "check-rpm: FAILED: rpmlint" >&2
        return 1
    fi
}
lint "$spec"
if ! grep -qx "Version: *$version" "$spec"; then
    echo "check-rpm: FAILED: $spec is not of version $version" >&2
    exit 1
fi

scripts/dist.sh "$work/dist" >/dev/null
unset CARGO_TARGET_DIR
# Debian's packages are not in rpm's database: --nodeps.
if ! rpmbuild -bb --nodeps --define "_topdir $work/rpm" --define "_sourcedir $work/dist" \
    "$spec" >"$work/log" 2>&1 </dev/null; then
    cat "$work/log" >&2
    echo "check-rpm: FAILED: rpmbuild" >&2
    exit 1
fi
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
make --no-print-directory -s install DESTDIR="$work/stage" PREFIX=/usr LIBDIR="$libdir" \
    MODULE="$work/unpacked$libdir/libtss2-tcti-rusttcti.so.0"
(cd "$work/stage" && find . ! -type d | sed 's/^\.//' | sort) >"$work/installed"
diff -u "$work/installed" "$work/packaged"
basename -a "${packages[@]}"
echo "check-rpm: builds, and has what make install installs"
