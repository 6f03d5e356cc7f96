#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds for other processors, with the oldest supported Rust: Debian 12's
# rustc-web, 1.85, offline, from vendored crates.
#
#   check-arch.sh [x86_64] [i686] [aarch64]   all, or these:
#
#   x86_64   the module and all tests compile
#   i686     so they do there, and tests run: on x86-64 the kernel runs them as they are
#   aarch64  Debian's cross compiler, and these tests under qemu's emulation
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=debian-root.sh
. scripts/debian-root.sh

packages=binutils,ca-certificates,cargo-web,gcc,libc6-dev,make,pkg-config,rustc-web

# Those that need nothing beside the module, libtpms and a C compiler.
tests="abi::alloc abi::esys abi::layout bridge::arguments bridge::failures bridge::fork
    bridge::model bridge::states bridge::threads libtpms::in_tests libtpms::memory
    libtpms::state rusttcti"
run_tests="cargo test --locked --workspace --no-run
    JOBS=1 scripts/each-test.sh $(echo $tests)"

# Security updates, which have a later Rust, are elsewhere.
suites=bookworm

x86_64() {
    system x86_64 $suites --include="$packages,libtpms0,libtss2-dev"
    within x86_64 '
        rustc --version
        make build
        cargo test --locked --workspace --no-run'
}

i686() {
    system i386 $suites --architectures=i386 \
        --include="$packages,libclang-dev,libtpms0,libtss2-dev"
    within i386 "
        make install DESTDIR=/stage PREFIX=/usr LIBDIR=/usr/lib
        export RUSTTCTI_MODULE_DIR=/stage/usr/lib
        $run_tests"
}

aarch64() {
    system arm64 $suites --architectures=amd64,arm64 \
        --include="$packages,gcc-aarch64-linux-gnu,libc6-dev:arm64,libstd-rust-web-dev:arm64,libtpms0:arm64,libtss2-dev:arm64,qemu-user-static"
    within arm64 "
        export CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64-static
        export PKG_CONFIG_ALLOW_CROSS=1
        export PKG_CONFIG_PATH=/usr/lib/aarch64-linux-gnu/pkgconfig
        export CC=aarch64-linux-gnu-gcc
        make build
        $run_tests"
}

if [ $# = 0 ]; then set -- x86_64 i686 aarch64; fi
for name in "$@"; do
    case "$name" in
        x86_64 | i686 | aarch64) ;;
        *) usage ;;
    esac
done
scripts/setup.sh arch
for name in "$@"; do
    step "check-arch: $name" "$name"
done
