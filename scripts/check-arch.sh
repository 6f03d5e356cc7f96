#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Other processors, with the oldest Rust that will do: Debian 12's rustc-web,
# 1.85, offline, from vendored crates. `check-arch.sh` for all, or some of:
#
#   x86_64   the module and all tests compile
#   i686     the same, and tests run: on x86-64 the kernel runs them as they are
#   aarch64  Debian's cross compiler, and the same tests under qemu's emulation
set -euo pipefail
cd "$(dirname "$0")/.."

target="$(realpath -m "${CARGO_TARGET_DIR:-target}")/arch"
packages=(binutils ca-certificates cargo-web gcc libc6-dev make pkg-config rustc-web)

# Those that need nothing beside the module, libtpms and a C compiler.
tests=(
    --test alloc
    --test bridge_arguments
    --test bridge_failures
    --test bridge_fork
    --test bridge_model
    --test bridge_states
    --test bridge_threads
    --test esys
    --test layout
    --test libtpms_in_tests
    --test libtpms_memory
    --test libtpms_state
    --lib
)

if [ "$(id -u)" != 0 ]; then
    echo "check-arch: a Debian 12 is unpacked and entered (chroot), for which this must run as root" >&2
    exit 1
fi
scripts/setup.sh arch

# Security updates, which have a later Rust, are elsewhere.
mirror="$(scripts/debian-mirror.sh)"

# A Debian 12 in $target/$1, made once; the rest is mmdebstrap's.
system() {
    local root="$target/$1"
    shift
    if [ ! -e "$root.complete" ]; then
        rm -rf "$root"
        mkdir -p "$target"
        echo "check-arch: unpacking Debian 12 ($(basename "$root"))"
        mmdebstrap --quiet --variant=apt "$@" bookworm "$root" "deb $mirror bookworm main" </dev/null
        touch "$root.complete"
    fi
    # The sources as they are now, and the crates that they are built from.
    mkdir -p "$root/src/.cargo"
    git ls-files -z | tar c --null -T - | tar x -C "$root/src"
    cargo vendor --locked --quiet "$root/src/vendor" >/dev/null
    cat >"$root/src/.cargo/config.toml" <<'CONFIG'
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "vendor"
[net]
offline = true
CONFIG
}

# Runs a script in $target/$1. The mounts are gone with it.
within() {
    # shellcheck disable=SC2016 # the inner shell's
    unshare --mount --propagation private bash -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs tmpfs "$1/tmp"
        exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            bash -euxc "cd /src; $2"' bash "$target/$1" "$2" </dev/null
}

x86_64() {
    system x86_64 --include="$(IFS=,; echo "${packages[*]}"),libtpms0,libtss2-dev"
    within x86_64 '
        rustc --version
        make build
        cargo test --locked --no-run'
}

i686() {
    system i386 --architectures=i386 \
        --include="$(IFS=,; echo "${packages[*]}"),libclang-dev,libtpms0,libtss2-dev"
    within i386 "
        make build
        make install DESTDIR=/stage PREFIX=/usr LIBDIR=/usr/lib
        export RUSTTCTI_MODULE_DIR=/stage/usr/lib
        cargo test --locked --no-run
        cargo test --locked ${tests[*]} -- --test-threads=1"
}

aarch64() {
    system arm64 --architectures=amd64,arm64 \
        --include="$(IFS=,; echo "${packages[*]}"),gcc-aarch64-linux-gnu,libc6-dev:arm64,libstd-rust-web-dev:arm64,libtpms0:arm64,libtss2-dev:arm64,qemu-user-static"
    within arm64 "
        export CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
        export PKG_CONFIG_ALLOW_CROSS=1
        export PKG_CONFIG_PATH=/usr/lib/aarch64-linux-gnu/pkgconfig
        export CC=aarch64-linux-gnu-gcc
        make build BUILT=target/module/aarch64-unknown-linux-gnu/release/librusttcti.so
        cargo test --locked --no-run
        cargo test --locked ${tests[*]} -- --test-threads=1"
}

for one in "${@:-x86_64 i686 aarch64}"; do
    for name in $one; do
        case "$name" in
            x86_64 | i686 | aarch64) ;;
            *)
                echo "usage: $0 [x86_64] [i686] [aarch64]" >&2
                exit 2
                ;;
        esac
        began=$SECONDS
        "$name"
        echo "check-arch: $name passed ($((SECONDS - began)) s)"
    done
done
