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

# shellcheck source=scripts/debian-root.sh
. scripts/debian-root.sh
scripts/setup.sh arch

# Security updates, which have a later Rust, are elsewhere.
suites=bookworm

x86_64() {
    system x86_64 $suites --include="$(IFS=,; echo "${packages[*]}"),libtpms0,libtss2-dev"
    within x86_64 '
        rustc --version
        make build
        cargo test --locked --no-run'
}

i686() {
    system i386 $suites --architectures=i386 \
        --include="$(IFS=,; echo "${packages[*]}"),libclang-dev,libtpms0,libtss2-dev"
    within i386 "
        make build
        make install DESTDIR=/stage PREFIX=/usr LIBDIR=/usr/lib
        export RUSTTCTI_MODULE_DIR=/stage/usr/lib
        cargo test --locked --no-run
        cargo test --locked ${tests[*]} -- --test-threads=1"
}

aarch64() {
    system arm64 $suites --architectures=amd64,arm64 \
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
