# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What check-arch.sh and check-tsan.sh share: a Debian 12 in a folder, which
# builds the sources as they are now, offline. Both work in the folder $target.
# shellcheck disable=SC2154

me="$(basename "$0" .sh)"

if [ "$(id -u)" != 0 ]; then
    echo "$me: a Debian 12 is unpacked and entered (chroot), for which this must run as root" >&2
    exit 1
fi

# system NAME SUITE,SUITE... MMDEBSTRAP-OPTION...: a Debian in $target/NAME, made
# once, with these sources and the crates that they are built from in /src.
system() {
    local root="$target/$1" suites=$2 mirror suite sources=()
    shift 2
    if [ ! -e "$root.complete" ]; then
        mirror="$(scripts/debian-mirror.sh)"
        for suite in ${suites//,/ }; do
            case $suite in
                *-security) sources+=("deb ${mirror%/}-security $suite main") ;;
                *) sources+=("deb $mirror $suite main") ;;
            esac
        done
        rm -rf "$root"
        mkdir -p "$target"
        echo "$me: unpacking Debian 12 ($(basename "$root"))"
        mmdebstrap --quiet --variant=apt "$@" bookworm "$root" "${sources[@]}" </dev/null
        touch "$root.complete"
    fi
    mkdir -p "$root/src"
    find "$root/src" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    git ls-files -z | tar c --null -T - | tar x -C "$root/src"
    # The standard library's, too, where that is to be built.
    local sync=() library="$root/usr/lib/rustlib/src/rust/library/Cargo.toml"
    if [ -e "$library" ]; then sync=(--sync "$library"); fi
    RUSTC_BOOTSTRAP=1 cargo vendor --locked --quiet "${sync[@]}" "$root/src/vendor" >/dev/null
    mkdir -p "$root/src/.cargo"
    cat >"$root/src/.cargo/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "vendor"
[net]
offline = true
CONFIG
}

# within NAME SCRIPT: runs it in $target/NAME. The mounts are gone with it.
within() {
    # shellcheck disable=SC2016 # the inner shell's
    unshare --mount --propagation private bash -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs tmpfs "$1/tmp"
        exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            bash -euxc "cd /src; $2"' bash "$target/$1" "$2" </dev/null
}
