#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs real programs over the module (scripts/apps has a script for each). Other
# programs check what they sign, encrypt and seal. `make check` runs this too.
# tpm2-pytss and tss-esapi are tested in tests/programs.
#
#   check-apps.sh [WORD...]   only scripts with one of these in their name
#
# RUSTTCTI_MODULE_DIR names the folder of a module built before. As many scripts
# run at once as there are processors, or JOBS. CHECK_APPS_VERBOSE=1 says of the
# passed ones, too, what was checked.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

patience=180 # seconds that one script may take

scripts/setup.sh apps
work_in
stage_module
export LD_LIBRARY_PATH="$RUSTTCTI_MODULE_DIR" patience work

# one SCRIPT: runs it, and prints its result.
one() {
    local name log began=$SECONDS
    name="$(basename "$1" .sh)"
    log="$work/$name.log"
    if timeout "$patience" bash "$1" >"$log" 2>&1 </dev/null; then
        if [ -n "${CHECK_APPS_VERBOSE:-}" ]; then cat "$log"; fi
        echo "$name: passed, $(grep -c '^   ' "$log") checks ($((SECONDS - began)) s)"
    else
        printf '%s: FAILED (%s s)\n%s\n' "$name" $((SECONDS - began)) "$(cat "$log")"
        return 1
    fi
}
export -f one

chosen=()
for script in scripts/apps/*.sh; do
    for word in "${@:-}"; do
        case $script in
            scripts/apps/lib.sh) ;;
            scripts/apps/*"$word"*) chosen+=("$script") && break ;;
        esac
    done
done
[ "${#chosen[@]}" -gt 0 ] || fail "no program has this in its name: $*"
# shellcheck disable=SC2016 # the inner shell's
printf '%s\0' "${chosen[@]}" | xargs -0 -n 1 -P "${JOBS:-$(nproc)}" bash -c 'one "$1"' one ||
    fail "see above"
echo "check-apps: ${#chosen[@]} programs passed"
