#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the Debian packages from a copy of the tree, and lets lintian judge
# them: `deb.sh [FOLDER]`, by default target/deb. RUSTTCTI_LINTIAN=no: no lintian.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

out="$(realpath -m "${1:-$(target_folder deb)}")"
version="$(version)"
wanted="$(manifest rust-version)"
packaged="$(dpkg-parsechangelog -S Version)"
[ "${packaged%-*}" = "$version" ] ||
    fail "debian/changelog speaks of $packaged, Cargo.toml of $version"

work_in
copy_tree "$work/rusttcti-$version"
cd "$work/rusttcti-$version"

# The compiler of the Debian archive, or one of rustup's, which dpkg knows
# nothing of: debian/README.source.
profile=()
if ! dpkg-checkbuilddeps 2>/dev/null; then
    profile=(--build-profiles=pkg.rusttcti.rustup)
    found="$(rustc --version | cut -d ' ' -f 2)"
    dpkg --compare-versions "$found" ge "$wanted" ||
        fail "rustc is $found; $wanted or newer is needed (https://rustup.rs)"
fi
quietly "$work/log" dpkg-buildpackage -us -uc -b "${profile[@]}"

cd "$work"
if [ "${RUSTTCTI_LINTIAN:-}" != no ] && ! lintian --display-info --pedantic --tag-display-limit 0 \
    --fail-on error,warning,info,pedantic ./*.changes; then
    fail "lintian found fault: mend it, or say in debian/*.lintian-overrides why not"
fi
rm -rf "$out"
mkdir -p "$out"
cp ./*.deb ./*.changes ./*.buildinfo "$out/"
cd "$out"
ls -- *.deb
echo "deb: in $out"
