#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the tests of what is unsafe, and of what reads a peer's bytes, under the
# address sanitizer, which also tells of memory that nobody gave back.
# RUSTC_BOOTSTRAP lets a stable compiler do it. It takes some three minutes;
# `make check` doesn't run it.
#
#   check-asan.sh [TEST...]   only these of the programs in tests/
set -euo pipefail
cd "$(dirname "$0")/.."

triple="$(uname -m)-unknown-linux-gnu"
target="${CARGO_TARGET_DIR:-target}/asan"
tests=(bridge_arguments bridge_failures bridge_fork bridge_model bridge_states bridge_threads
    bridge_unload context module_init module_sigpipe pytcti ldr hostile libtpms_async
    libtpms_memory libtpms_state mssim socket_events swtpm swtpm_shared)
if [ $# -gt 0 ]; then
    tests=("$@")
fi

# The module that some of them load: as it is shipped, without the sanitizer.
stage="$(mktemp -d)"
trap 'rm -rf "$stage"' EXIT
make --no-print-directory -s install DESTDIR="$stage" PREFIX=/usr LIBDIR=/usr/lib
export RUSTTCTI_MODULE_DIR="$stage/usr/lib"

export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address --cfg sanitized"
# The OpenSSL that embedded TPMs share stays until the process ends.
echo 'leak:libcrypto.so' >"$stage/leaks"
export LSAN_OPTIONS="suppressions=$stage/leaks:print_suppressions=0"
failed=()
for test in "${tests[@]}"; do
    leaks=1
    if [ "$test" = bridge_fork ]; then
        # Forked children leave by _exit(2) and free nothing, which is meant.
        leaks=0
    fi
    ASAN_OPTIONS=detect_leaks=$leaks timeout 600 cargo test --locked --quiet \
        --target "$triple" --target-dir "$target" --test "$test" || failed+=("$test")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "check-asan: FAILED: ${failed[*]}"
    exit 1
fi
echo "check-asan: ${#tests[@]} test programs passed"
