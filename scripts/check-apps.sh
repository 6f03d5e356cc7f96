#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs real programs over the module (scripts/apps/, a script for each): what
# they sign, encrypt and seal is checked by others. `make check` runs it, too.
# tpm2-pytss and tss-esapi are tested in tests/pytss.rs and tests/tss_esapi.rs.
#
#   check-apps.sh [WORD...]   only scripts with one of these in their name
#   RUSTTCTI_MODULE_DIR       the folder of a module built before
#   CHECK_APPS_VERBOSE=1      says of the passed ones, too, what was checked
set -euo pipefail
cd "$(dirname "$0")/.."

patience=180 # seconds that one script may take

scripts/setup.sh apps
temporary="$(mktemp -d)"
trap 'rm -rf "$temporary"' EXIT
if [ -z "${RUSTTCTI_MODULE_DIR:-}" ]; then
    make --no-print-directory -s install DESTDIR="$temporary/stage" PREFIX=/usr LIBDIR=/usr/lib
    RUSTTCTI_MODULE_DIR="$temporary/stage/usr/lib"
fi
export LD_LIBRARY_PATH="$RUSTTCTI_MODULE_DIR" PATH="$PATH:/usr/sbin:/sbin"

ran=0
failed=()
for script in scripts/apps/*.sh; do
    name="$(basename "$script" .sh)"
    if [ "$name" = lib ]; then continue; fi
    wanted=$#
    for word in "$@"; do
        case $name in *"$word"*) wanted=0 ;; esac
    done
    if [ "$wanted" -gt 0 ]; then continue; fi
    ran=$((ran + 1))
    began=$SECONDS
    log="$temporary/$name.log"
    if timeout "$patience" bash "$script" >"$log" 2>&1 </dev/null; then
        echo "$name: passed, $(grep -c '^   ' "$log") checks ($((SECONDS - began)) s)"
        if [ -n "${CHECK_APPS_VERBOSE:-}" ]; then cat "$log"; fi
    else
        echo "$name: FAILED ($((SECONDS - began)) s)"
        cat "$log"
        failed+=("$name")
    fi
done
if [ "$ran" = 0 ]; then
    echo "check-apps: there is no such program" >&2
    exit 2
fi
if [ "${#failed[@]}" -gt 0 ]; then
    echo "check-apps: FAILED: ${failed[*]}"
    exit 1
fi
echo "check-apps: $ran programs passed"
