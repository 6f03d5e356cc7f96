#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Fuzzes each target for a number of seconds, under the address sanitizer, and
# fails on any finding.
#
#   fuzz.sh SECONDS [TARGET...]        from fuzz/corpus, which keeps what is new
#   fuzz.sh --check SECONDS            from the seeds, and nothing is kept
#   fuzz.sh --reproduce TARGET FILE    one input, as a finding's words say
#
# The targets are cargo-fuzz's (`cargo fuzz run TARGET` is the same), but that
# tool is not needed here: what it adds to a build is in FLAGS. RUSTC_BOOTSTRAP
# lets a stable compiler take them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

keep=1 reproduce=
case "${1:-}" in
    --check) keep=0 && shift ;;
    --reproduce)
        [ $# = 3 ] || usage
        reproduce=$2 input="$(realpath "$3")"
        ;;
esac
if [ -z "$reproduce" ]; then
    [[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || usage
    seconds=$1
    shift
fi

root=$PWD
triple="$(uname -m)-unknown-linux-gnu"
target="$(target_folder fuzz)"
programs="$target/$triple/release"
flags=(
    --cfg fuzzing
    -Zsanitizer=address
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0
    -Cdebug-assertions
    -Coverflow-checks
)
(
    cd fuzz
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="${flags[*]}" \
        cargo build --locked --quiet --release --bins --target "$triple" --target-dir "$target"
)

work_in
mkdir "$work/tmp"
# Failures are wanted here, and would fill the screen.
export TMPDIR="$work/tmp" TSS2_LOG="${TSS2_LOG:-all+none}" RUSTTCTI_FSYNC=0
limits=(-timeout=30 -rss_limit_mb=2048)

if [ -n "$reproduce" ]; then
    "$programs/$reproduce" "${limits[@]}" "$input"
    echo "fuzz: $reproduce keeps its promises on $input"
    exit 0
fi

if [ "$keep" = 1 ]; then
    corpus="$root/fuzz/corpus"
else
    corpus="$work/corpus"
fi
scripts/fuzz-corpus.sh "$corpus" >"$work/targets"

failed=()
printf '%-12s %9s %9s %7s %7s\n' target runs 'runs/s' edges inputs
while read -r name longest; do
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    log="$work/$name.log"
    artifacts="$root/fuzz/artifacts/$name/"
    mkdir -p "$artifacts"
    status=0
    "$programs/$name" "${limits[@]}" -max_total_time="$seconds" -max_len="$longest" \
        -print_final_stats=1 -artifact_prefix="$artifacts" \
        "$corpus/$name" </dev/null >"$log" 2>&1 || status=$?
    # "#4242	DONE   cov: 700 ft: 1500 corp: 120/5Kb exec/s: 808 rss: 60Mb"
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    progress() { sed -n "s/^#[0-9].* $1: \([0-9]*\).*/\1/p" "$log" | tail -1; }
    printf '%-12s %9s %9s %7s %7s\n' "$name" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(progress cov)" "$(progress corp)"
    if [ "$status" != 0 ]; then
        failed+=("$name")
        grep -A 3 'panicked at' "$log" || true
        grep -v '^#\|^INFO: \|^stat::\|^\tNEW_FUNC' "$log" | tail -60 || true
        finding="$(sed -n 's/^.*Test unit written to //p' "$log" | tail -1)"
        if [ -n "$finding" ]; then
            echo "fuzz: $name: to see it again: scripts/fuzz.sh --reproduce $name $finding"
            echo "fuzz: $name: once it is mended, keep it in fuzz/regressions/$name"
        fi
    fi
done <"$work/targets"
rmdir --ignore-fail-on-non-empty fuzz/artifacts/* fuzz/artifacts 2>/dev/null || true

[ "${#failed[@]}" = 0 ] || fail "${failed[*]}"
echo "fuzz: nothing was found in $seconds s for each target"
