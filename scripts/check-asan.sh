#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the tests of unsafe code, and of code that parses a peer's bytes, under
# the address sanitizer, which also reports leaks. RUSTC_BOOTSTRAP lets a stable
# compiler do it. It takes about three minutes; `make check` does not run it.
#
#   check-asan.sh [PROGRAM[::MODULE...]...]   only these, as each-test.sh names them
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if [ $# = 0 ]; then
    set -- abi::context abi::tctildr abi::pytcti bridge export libtpms::memory libtpms::nonblocking \
        libtpms::state sockets::events sockets::hostile sockets::mssim sockets::swtpm \
        sockets::swtpm_shared
fi

# The module that some of them load: as it is shipped, without the sanitizer.
work_in
stage_module

CARGO_BUILD_TARGET="$(uname -m)-unknown-linux-gnu"
CARGO_TARGET_DIR="$(target_folder asan)"
export CARGO_BUILD_TARGET CARGO_TARGET_DIR RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address --cfg sanitized"
# The OpenSSL that embedded TPMs share stays until the process ends.
echo 'leak:libcrypto.so' >"$work/leaks"
export LSAN_OPTIONS="suppressions=$work/leaks:print_suppressions=0"

# Forked children leave by _exit(2) and free nothing, which is meant.
without_leaks=() with_leaks=()
for name in "$@"; do
    case $name in
        bridge)
            without_leaks+=(bridge::fork)
            for file in tests/bridge/*.rs; do
                module="bridge::$(basename "$file" .rs)"
                case $module in *::main | *::fork) ;; *) with_leaks+=("$module") ;; esac
            done
            ;;
        bridge::fork*) without_leaks+=("$name") ;;
        *) with_leaks+=("$name") ;;
    esac
done
if [ "${#with_leaks[@]}" -gt 0 ]; then
    ASAN_OPTIONS=detect_leaks=1 LIMIT=600 scripts/each-test.sh "${with_leaks[@]}"
fi
if [ "${#without_leaks[@]}" -gt 0 ]; then
    ASAN_OPTIONS=detect_leaks=0 LIMIT=600 scripts/each-test.sh "${without_leaks[@]}"
fi
echo "check-asan: passed: $*"
