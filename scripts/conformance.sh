#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the kit's checks over Debian's TCTI modules and over ours of the same
# names, and writes the results into docs/conformance.md, between its two marks:
# `conformance.sh` for all, `conformance.sh swtpm pcap` to print only those.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

install_packages dbus libtpms0 libtss2-tcti-{cmd,mssim,pcap,swtpm,tabrmd}0 python3 swtpm tpm2-{abrmd,tools}
work_in
stage_module
export LD_LIBRARY_PATH="$RUSTTCTI_MODULE_DIR"
cargo build --locked --release --quiet -p rusttcti-kit --bin tcti-check
check="$(target_folder release)/tcti-check"
export TSS2_LOG=all+none TCTI_PCAP_FILE="$work/log.pcapng"

daemons=()
tidy() {
    for pid in "${daemons[@]}"; do end_process "$pid"; done
}

# judge TCTI OPTION...: the result for one module, as JSON in a separate file.
results=()
judge() {
    local file
    file="$work/$(printf %02d ${#results[@]}).json"
    echo "== $1" >&2
    "$check" --json -T "$@" >"$file" || [ $? = 1 ] || fail "$1"
    results+=("$file")
}

# tpm2-abrmd over an swtpm by Debian's modules, on a separate bus.
abrmd() {
    mkdir "$work/swtpm"
    start_swtpm tcp "$work/swtpm" "$work/swtpm.log" --flags not-need-init,startup-clear
    daemons+=("$peer")
    dbus-daemon --session --nofork --nopidfile --print-address "--address=unix:dir=$work" \
        >"$work/bus" 2>&1 </dev/null &
    daemons+=("$!")
    until grep -q '^unix:' "$work/bus"; do sleep 0.02; done
    DBUS_SESSION_BUS_ADDRESS="$(head -n 1 "$work/bus")"
    export DBUS_SESSION_BUS_ADDRESS
    tpm2-abrmd --session --allow-root "--tcti=swtpm:$conf" >"$work/abrmd.log" 2>&1 </dev/null &
    daemons+=("$!")
    until dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.NameHasOwner string:com.intel.tss2.Tabrmd | grep -q true; do
        kill -0 "${daemons[-1]}" || fail "tpm2-abrmd ended" "$work/abrmd.log"
        sleep 0.02
    done
}

wanted=("$@")
want() { [ "${#wanted[@]}" = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]; }

relay="exec tpm2_send -T rusttcti:libtpms"
if want swtpm; then judge swtpm --peer swtpm && judge rusttcti:swtpm --peer swtpm; fi
if want mssim; then judge mssim --peer libtpms && judge rusttcti:mssim --peer libtpms; fi
if want cmd; then judge "cmd:$relay" && judge "rusttcti:cmd:$relay"; fi
if want pcap; then judge pcap:rusttcti:libtpms && judge rusttcti:pcap:libtpms; fi
if want tabrmd; then
    abrmd
    judge tabrmd:bus_type=session
    judge rusttcti:rm:swtpm --peer swtpm
fi
if want libtpms; then judge rusttcti:libtpms; fi

document=docs/conformance.md
if [ "${#wanted[@]}" != 0 ]; then document=; fi
python3 scripts/conformance.py "$document" "${results[@]}"
