#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs each test in a process of its own, as cargo-nextest does, where that is
# not installed: some tests count what their whole process has open.
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cargo test --locked --no-run --lib --bins --tests 2>"$work/build" || {
    cat "$work/build" >&2
    exit 1
}
# "  Executable tests/x.rs (target/debug/deps/x-0123456789abcdef)"
sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" >"$work/programs"

while read -r program; do
    "$program" --list --format terse | sed -n "s|: test\$||; T; s|^|$program |; p"
    "$program" --list --format terse --ignored | sed -n "s|: test\$||; T; s|^|$program |; p" >>"$work/ignored"
done <"$work/programs" | sort >"$work/all"
sort "$work/ignored" >"$work/left-out"
comm -23 "$work/all" "$work/left-out" >"$work/tests"

if [ ! -s "$work/tests" ]; then
    echo "each-test: there are no tests" >&2
    exit 1
fi

one() {
    local program=$1 test=$2 log
    log="$(mktemp "$work/log.XXXXXX")"
    if timeout --kill-after=10 240 "$program" --exact "$test" </dev/null >"$log" 2>&1; then
        echo "PASS $(basename "${program%-*}") $test"
    else
        echo "FAIL $(basename "${program%-*}") $test"
        cat "$log"
        return 1
    fi
}
export -f one
export work

status=0
# shellcheck disable=SC2016
xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' one <"$work/tests" || status=1
echo "each-test: $(wc -l <"$work/tests") tests, $(wc -l <"$work/left-out") not run by themselves"
exit $status
