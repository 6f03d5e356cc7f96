#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test, in one go: what `make check` and CI run.
set -euo pipefail
cd "$(dirname "$0")/.."

start=$SECONDS
failed=()

# Runs one step, and goes on after a failure so that one run tells them all.
step() {
    local name=$1 began=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        echo "-- $name: passed ($((SECONDS - began)) s)"
    else
        echo "-- $name: FAILED ($((SECONDS - began)) s)"
        failed+=("$name")
    fi
}

# A step without which the ones after it mean nothing.
must() {
    local before=${#failed[@]}
    step "$@"
    if [ "${#failed[@]}" -gt "$before" ]; then
        finish
    fi
}

finish() {
    echo
    if [ "${#failed[@]}" -gt 0 ]; then
        echo "check: FAILED after $((SECONDS - start)) s: ${failed[*]}"
        exit 1
    fi
    echo "check: everything passed in $((SECONDS - start)) s"
    exit 0
}

run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --no-fail-fast
    else
        scripts/each-test.sh
    fi
}

# In fuzz/, where the flags are that it needs.
fuzz_regressions() (
    target="$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz-plain"
    cd fuzz
    options=(--locked --quiet --no-default-features --target-dir "$target")
    cargo clippy "${options[@]}" --all-targets -- -D warnings && cargo test "${options[@]}"
)

cinstall() {
    if cargo cinstall --version >/dev/null 2>&1; then
        step "cargo cinstall and make install give the same tree" scripts/check-cinstall.sh
    else
        echo "== cargo cinstall: NOT RUN (there is no cargo-c here)"
    fi
}

packages() {
    if command -v dpkg >/dev/null; then
        step "Debian packages" scripts/check-deb.sh quick
    else
        echo "== Debian packages: NOT RUN (no dpkg)"
    fi
}

# The guest needs qemu and a Debian kernel: where they are, or can be had.
guest() {
    if command -v qemu-system-x86_64 >/dev/null || command -v apt-get >/dev/null; then
        step "the device transport in a guest kernel" scripts/check-vm.sh
    else
        echo "== the device transport in a guest kernel: NOT RUN (no qemu, and no apt-get)"
    fi
}

must setup scripts/setup.sh check
step format cargo fmt --check
step "format of fuzz" cargo fmt --check --manifest-path fuzz/Cargo.toml
step "format of examples/own-module" cargo fmt --check --manifest-path examples/own-module/Cargo.toml
step "format of examples/ftdi-module" cargo fmt --check --manifest-path examples/ftdi-module/Cargo.toml
step "examples/ftdi-module compiles" cargo check --quiet --manifest-path examples/ftdi-module/Cargo.toml
step "clippy, with the C functions" cargo clippy --locked --all-targets --all-features -- -D warnings
step "clippy, without them" cargo clippy --locked --lib -- -D warnings
step shellcheck shellcheck -x --source-path=SCRIPTDIR --severity=warning \
    scripts/*.sh scripts/apps/*.sh scripts/suites/*.sh debian/tests/{compile,getrandom} .ci/run
step documentation env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
must build make --no-print-directory build

# The tests use the module as it is installed.
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
must "staged install" make --no-print-directory -s install DESTDIR="$stage" PREFIX=/usr LIBDIR=/usr/lib
export RUSTTCTI_MODULE_DIR="$stage/usr/lib"

step tests run_tests
step "documentation's examples" cargo test --locked --doc --quiet
step "what the fuzzer once found" fuzz_regressions
step "fuzzing, a few seconds each" scripts/fuzz.sh --check 3
step "real programs over the module" scripts/check-apps.sh
cinstall
packages
guest
finish
