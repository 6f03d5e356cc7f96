#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs every test. `make check` and CI run this script.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

start=$SECONDS
work_in
failures="$work/failures"
# What a next build could go on from is more than half of a target folder.
export CARGO_INCREMENTAL=0

# try NAME COMMAND...: a step. If it fails, the other steps still run, so that
# one run shows all failures.
try() {
    if ! step "$@"; then echo "$1" >>"$failures"; fi
}

# must NAME COMMAND...: a step without which those after it mean nothing.
must() {
    try "$@"
    if [ -e "$failures" ] && grep -qxF "$1" "$failures"; then finish; fi
}

# beside FUNCTION: begins with steps that go on beside the next ones: in a group of
# processes of their own, for `tidy`.
beside=''
beside() {
    set -m
    "$1" >"$work/beside" 2>&1 </dev/null &
    beside=$!
    set +m
}

# together: waits for the end of these steps, and shows what they printed.
together() {
    wait "$beside" || echo "$me" >>"$failures"
    beside=''
    cat "$work/beside"
}

tidy() {
    if [ -n "$beside" ]; then kill -- "-$beside" 2>/dev/null || true; fi
}

finish() {
    echo
    if [ -e "$failures" ]; then
        echo "check: FAILED after $((SECONDS - start)) s: $(paste -sd , "$failures")"
        exit 1
    fi
    echo "check: everything passed in $((SECONDS - start)) s"
    exit 0
}

run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        # Many tests wait most of their time.
        cargo nextest run --locked --workspace --no-fail-fast --test-threads $(($(nproc) + 1))
    else
        scripts/each-test.sh
    fi
}

# In fuzz/, whose cargo configuration has the flags that it needs.
fuzz_regressions() (
    options=(--locked --quiet --no-default-features --target-dir "$(target_folder fuzz-plain)")
    cd fuzz && cargo clippy "${options[@]}" --all-targets -- -D warnings && cargo test "${options[@]}"
)

# A Cortex-M4 has no std, and no allocator either.
firmware() {
    local target=thumbv7em-none-eabi
    if command -v rustup >/dev/null && rustup target add "$target" >/dev/null 2>&1; then
        try "tpm-tis compiles for a microcontroller" \
            cargo build --locked --quiet -p tpm-tis --lib --target "$target"
    else
        echo "== tpm-tis for a microcontroller: NOT RUN (rustup cannot install $target)"
    fi
}

cinstall() {
    if cargo cinstall --version >/dev/null 2>&1; then
        try "cargo cinstall and make install give one tree" scripts/check-cinstall.sh
    else
        echo "== cargo cinstall: NOT RUN (there is no cargo-c here)"
    fi
}

packages() {
    if command -v dpkg >/dev/null; then
        try "Debian packages" scripts/check-deb.sh quick
    else
        echo "== Debian packages: NOT RUN (no dpkg)"
    fi
}

# The guest needs qemu and a Debian kernel. It runs if they are installed, or can
# be installed.
guest() {
    if command -v qemu-system-x86_64 >/dev/null || command -v apt-get >/dev/null; then
        try "the device transport in a guest kernel" scripts/check-vm.sh
    else
        echo "== the device transport in a guest kernel: NOT RUN (no qemu, and no apt-get)"
    fi
}

# The installed module, which tests use, and the steps that need no compiler.
module_and_formats() {
    try "build and staged install" install_into "$work/stage"
    try format cargo fmt --all --check
    try "format of fuzz" cargo fmt --check --manifest-path fuzz/Cargo.toml
    for example in examples/*/Cargo.toml; do
        try "format of $(dirname "$example")" cargo fmt --check --manifest-path "$example"
    done
    try "examples/ftdi-module compiles" env CARGO_PROFILE_DEV_DEBUG=0 cargo check --quiet \
        --manifest-path examples/ftdi-module/Cargo.toml --target-dir "$(target_folder tmp/crates)"
    firmware
    try shellcheck shellcheck -x --source-path=SCRIPTDIR --severity=warning \
        scripts/*.sh scripts/apps/*.sh scripts/suites/*.sh debian/tests/{compile,getrandom} .ci/run \
        tests/device/guest-init tests/programs/commands.sh
}

lints_and_tests() {
    try clippy cargo clippy --locked --workspace --all-targets -- -D warnings
    try "clippy, without features" \
        cargo clippy --locked -p rusttcti --lib --no-default-features -- -D warnings
    try documentation \
        env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
    must "tests compile" cargo test --locked --workspace --no-run --quiet
}

uses() {
    try "real programs over the module" scripts/check-apps.sh
    cinstall
    packages
    guest
}

must setup scripts/setup.sh check
beside module_and_formats
lints_and_tests
together
export RUSTTCTI_MODULE_DIR="$work/stage/usr/lib"
[ -e "$RUSTTCTI_MODULE_DIR/libtss2-tcti-rusttcti.so.0" ] || finish
# By themselves: some of them measure time.
try tests run_tests
try "documentation's examples" cargo test --locked --workspace --doc --quiet
beside uses
try "what the fuzzer once found" fuzz_regressions
try "fuzzing, two seconds each" scripts/fuzz.sh --check 2
together
finish
