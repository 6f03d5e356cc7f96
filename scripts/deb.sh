#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the Debian packages from a copy of the tree, and lets lintian judge
# them: `deb.sh [FOLDER]`, by default target/deb. RUSTTCTI_LINTIAN=no: no lintian.
set -euo pipefail
cd "$(dirname "$0")/.."
out="$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/deb}")"

version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
packaged="$(dpkg-parsechangelog -S Version)"
if [ "${packaged%-*}" != "$version" ]; then
    echo "deb: debian/changelog speaks of $packaged, Cargo.toml of $version" >&2
    exit 1
fi

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
scripts/copy-tree.sh "$work/rusttcti-$version"
cd "$work/rusttcti-$version"

# The compiler of the Debian archive, or one of rustup's, which dpkg knows
# nothing of: debian/README.source.
profile=()
if ! dpkg-checkbuilddeps 2>/dev/null; then
    profile=(--build-profiles=pkg.rusttcti.rustup)
    wanted="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
    found="$(rustc --version | cut -d ' ' -f 2)"
    if dpkg --compare-versions "$found" lt "$wanted"; then
        echo "deb: rustc is $found; $wanted or newer is needed (https://rustup.rs)" >&2
        exit 1
    fi
fi
if ! dpkg-buildpackage -us -uc -b "${profile[@]}" >"$work/log" 2>&1 </dev/null; then
    cat "$work/log" >&2
    echo "deb: dpkg-buildpackage failed" >&2
    exit 1
fi

cd "$work"
if [ "${RUSTTCTI_LINTIAN:-}" != no ] && ! lintian --display-info --pedantic --tag-display-limit 0 \
    --fail-on error,warning,info,pedantic ./*.changes; then
    echo "deb: lintian found fault: mend it, or say in debian/*.lintian-overrides why not" >&2
    exit 1
fi
rm -rf "$out"
mkdir -p "$out"
cp ./*.deb ./*.changes ./*.buildinfo "$out/"
cd "$out"
ls -- *.deb
echo "deb: in $out"
