# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Functions for check-arch.sh and check-tsan.sh, after lib.sh: a Debian 12 in a
# folder, which builds the present sources offline.
# shellcheck disable=SC2154

need_root "a Debian 12 is unpacked and entered (chroot)"

# system NAME SUITE,SUITE... MMDEBSTRAP-OPTION...: a Debian in the folder
# target/arch/NAME, made once, with these sources and their crates in /src. Sets
# $root to that folder.
system() {
    local suites=$2 mirror suite sources=()
    root="$(target_folder "arch/$1")"
    shift 2
    if [ ! -e "$root.complete" ]; then
        mirror="$(debian_mirror)"
        for suite in ${suites//,/ }; do
            case $suite in
                *-security) sources+=("deb ${mirror%/}-security $suite main") ;;
                *) sources+=("deb $mirror $suite main") ;;
            esac
        done
        rm -rf "$root"
        mkdir -p "$(dirname "$root")"
        echo "$me: unpacking Debian 12 ($(basename "$root"))"
        mmdebstrap --quiet --variant=apt "$@" bookworm "$root" "${sources[@]}" </dev/null
        touch "$root.complete"
    fi
    # mmdebstrap's small variants have none, and the tests' peers are at localhost.
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$root/etc/hosts"
    mkdir -p "$root/src"
    find "$root/src" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    copy_tree "$root/src"
    # Those of the standard library too, if it is to be built.
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

# within NAME SCRIPT: runs it in that Debian. The mounts are gone with it.
within() {
    # shellcheck disable=SC2016 # the inner shell's
    unshare --mount --propagation private bash -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs tmpfs "$1/tmp"
        exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            bash -euxc "cd /src; $2"' bash "$(target_folder "arch/$1")" "$2" </dev/null
}
