#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes the source package, from which a builder without network can build:
# `dist.sh [FOLDER]`, by default target/dist. The sources and the crates are two
# tarballs; the same tree gives the same bytes.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

out="$(realpath -m "${1:-$(target_folder dist)}")"
version="$(version)"
epoch="$(dpkg-parsechangelog -S Timestamp)"
# Those of debian/control.
targets=(
    aarch64-unknown-linux-gnu
    arm-unknown-linux-gnueabi
    armv7-unknown-linux-gnueabihf
    x86_64-unknown-linux-gnu
)

work_in
tree="$work/rusttcti-$version"
copy_tree "$tree"
cd "$tree"

cargo vendor --quiet --locked vendor >/dev/null </dev/null
for target in "${targets[@]}"; do
    cargo tree --quiet --locked --edges normal,build \
        --target "$target" --prefix none --format '{p}'
done | awk '{ sub(/^v/, "", $2); print $1, $2 }' | sort -u >"$work/needed"

# Of a crate that is not needed its Cargo.toml stays: cargo wants to know every
# crate of Cargo.lock.
for crate in vendor/*; do
    name="$(sed -n '/^\[package\]/,/^\[[^p]/s/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -n 1)"
    found="$(sed -n '/^\[package\]/,/^\[[^p]/s/^version = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -n 1)"
    if ! grep -qxF "$name $found" "$work/needed"; then
        find "$crate" -mindepth 1 ! -path "$crate/Cargo.toml" \
            ! -path "$crate/.cargo-checksum.json" -delete
        sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
        mkdir "$crate/src"
        : >"$crate/src/lib.rs"
    fi
done
cat >vendor/config.toml <<'END'
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
END

pack() {
    local to=$1
    shift
    tar -c --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX --format=gnu "$@" | xz -T1 -6 >"$to"
}
cd "$work"
pack "rusttcti_$version.orig.tar.xz" --exclude="rusttcti-$version/vendor" "rusttcti-$version"
pack "rusttcti_$version.orig-vendor.tar.xz" -C "$tree" vendor
chmod -R u=rwX,go=rX "$tree"
quietly "$work/log" dpkg-source -b "$tree"
lintian --display-info --pedantic --tag-display-limit 0 \
    --fail-on error,warning,info,pedantic ./*.dsc ||
    fail "lintian found fault: mend it, or say in debian/source/lintian-overrides why not"

rm -rf "$out"
mkdir -p "$out"
cp ./*.tar.xz ./*.dsc "$out/"
cd "$out"
ls -s --block-size=K -- *
echo "dist: in $out"
