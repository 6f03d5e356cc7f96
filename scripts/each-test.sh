#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs each test in a separate process, as cargo-nextest does: some tests count
# the descriptors and threads of their whole process. make check uses it if
# there is no nextest; check-asan, check-tsan and check-arch always use it.
#
#   each-test.sh                            all tests of the workspace
#   each-test.sh PROGRAM[::MODULE...]...    those of these programs, or in these modules
#
# A program is a folder of tests/ (sockets::swtpm), or a crate for its unit tests
# (rusttcti::chain). JOBS=N runs N tests at a time; LIMIT=S ends each after S
# seconds (240). Variables of cargo's say how to build and what runs a program.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

work_in
export LIMIT="${LIMIT:-240}" work

# build OPTION...: adds the programs that this builds to $work/programs.
build() {
    cargo test --locked --no-run "$@" 2>"$work/build" || {
        cat "$work/build" >&2
        exit 1
    }
    # "  Executable tests/x/main.rs (target/debug/deps/x-0123456789abcdef)"
    sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" >>"$work/programs"
}
if [ $# = 0 ]; then
    build --workspace --lib --bins --tests
else
    in_tests=()
    for name in "$@"; do
        program="${name%%::*}"
        if [ -e "tests/$program/main.rs" ]; then
            in_tests+=(--test "$program")
        else
            build --package "$program" --lib
        fi
    done
    if [ "${#in_tests[@]}" -gt 0 ]; then build "${in_tests[@]}"; fi
fi

# Cargo's variable with the runner of programs for another processor.
runner="CARGO_TARGET_${CARGO_BUILD_TARGET:-}_RUNNER"
runner="${runner^^}"
runner="${runner//-/_}"
export runner="${!runner:-}"

touch "$work/ignored"
# "PROGRAM-FILE TEST" for each test, and for each that is not run by itself.
sort -u "$work/programs" | while read -r program; do
    $runner "$program" --list --format terse | sed -n "s|: test\$||; T; s|^|$program |; p"
    $runner "$program" --list --format terse --ignored |
        sed -n "s|: test\$||; T; s|^|$program |; p" >>"$work/ignored"
done | sort >"$work/all"
sort "$work/ignored" | comm -23 "$work/all" - >"$work/found"

# wanted NAME: prints the tests that are NAME or below it.
wanted() {
    awk -v name="${1//-/_}" '{
        program = $1
        sub(".*/", "", program)
        sub("-[0-9a-f]*$", "", program)
        if (index(program "::" $2 "::", name "::") == 1) print
    }' "$work/found"
}
if [ $# = 0 ]; then
    mv "$work/found" "$work/tests"
else
    for name in "$@"; do
        wanted "$name" >"$work/these"
        [ -s "$work/these" ] || fail "there are no tests of the name $name"
        cat "$work/these"
    done | sort -u >"$work/tests"
fi
[ -s "$work/tests" ] || fail "there are no tests"

one() {
    local program=$1 test=$2 log name
    log="$(mktemp "$work/log.XXXXXX")"
    name="$(basename "${program%-*}") $test"
    # shellcheck disable=SC2086 # the runner's words
    if timeout --kill-after=10 "$LIMIT" $runner "$program" --exact "$test" </dev/null >"$log" 2>&1; then
        echo "PASS $name"
    else
        echo "FAIL $name"
        cat "$log"
        return 1
    fi
}
export -f one

status=0
# shellcheck disable=SC2016
xargs -P "${JOBS:-$(nproc)}" -L 1 bash -c 'one "$@"' one <"$work/tests" || status=1
echo "each-test: $(wc -l <"$work/tests") tests, $(wc -l <"$work/ignored") not run by themselves"
exit "$status"
