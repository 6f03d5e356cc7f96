#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs tpm2-tss's own integration programs (SYS, ESYS, FAPI) over this module:
# over the embedded TPM, with and without a state file, over swtpm by TCP and by
# a Unix socket, and over the layers rm and wrap on these. Each runs over
# tpm2-tss's own swtpm module, too: what fails there says nothing about ours. It
# takes some twenty minutes, ten of them to build tpm2-tss; `make check` doesn't
# run it.
#
#   check-tss.sh [WORD...]   only programs with one of these in their name
#   CHECK_TSS_DIR=FOLDER     build there, and use what was built there before
#   CHECK_TSS_KINDS="..."    only over these kinds of TPM (see below); beside
#                            the default ones: swtpm-persistent, mssim; each
#                            with layers before it, as in rm:swtpm-unix
#   CHECK_TSS_SUITES="..."   Debian suites to get the source from, where the
#                            configured ones don't have it
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=suites/common.sh
. scripts/suites/common.sh

patience=300 # seconds that one program may take
suites="${CHECK_TSS_SUITES:-trixie}"
kinds="${CHECK_TSS_KINDS:-upstream-swtpm swtpm-tcp swtpm-unix libtpms libtpms-file
    rm:libtpms rm:libtpms-file rm:swtpm-tcp wrap,key=null:libtpms wrap,key=null:rm:libtpms
    wrap,key=null:rm:libtpms-file wrap,key=null:swtpm-tcp}"
packages="autoconf autoconf-archive automake dpkg-dev gcc iproute2 libc6-dev libcurl4-openssl-dev
          libjson-c-dev libltdl-dev libssl-dev libtool libtpms0 libtss2-dev make pkg-config swtpm
          uthash-dev uuid-dev"

# One program over one kind of TPM: "check-tss.sh --one KIND PROGRAM", started
# by this script itself. Answers with a line in $results.
one() {
    local kind=$1 program=$2 name log layers='' tpm tcti rc=0
    # LAYERS:TPM, or a TPM alone.
    tpm="${kind##*:}"
    if [ "$tpm" != "$kind" ]; then layers="${kind%:*}:"; fi
    name="$(basename "$program")"
    log="$logs/$kind.$name.log"
    # Not local: the trap needs them when this function is done.
    peer=""
    state="$(mktemp -d)"
    trap 'if [ -n "$peer" ]; then end_process "$peer"; fi; rm -rf "$state"' EXIT
    case $tpm in
        mssim)
            # It ends with its standard input, a pipe that this shell holds.
            mkfifo "$state/end"
            "$simulator" --ignored --exact mssim::serves_other_programs_until_its_input_ends --nocapture \
                <"$state/end" >"$log.mssim" 2>&1 &
            peer=$!
            exec 4>"$state/end"
            for _ in $(seq 500); do
                if grep -q '^conf ' "$log.mssim"; then break; fi
                sleep 0.02
            done
            tcti="rusttcti:${layers}mssim:$(sed -n 's/^conf //p' "$log.mssim")"
            ;;
        *swtpm*)
            local socket=tcp
            if [ "$tpm" = swtpm-unix ]; then socket=unix; fi
            start_swtpm "$socket" "$state" "$log.swtpm" "${swtpm_options[@]}" 2>"$log" || {
                echo "$kind $name 99" >>"$results"
                return 0
            }
            tcti="rusttcti:${layers}swtpm:$conf"
            case $tpm in
                upstream-swtpm) tcti="swtpm:$conf" ;;
                swtpm-persistent) tcti="$tcti,persistent=1" ;;
            esac
            ;;
        libtpms) tcti="rusttcti:${layers}libtpms" ;;
        libtpms-file) tcti="rusttcti:${layers}libtpms:$state/tpm" ;;
        *) fail "there is no TPM $tpm (see the script's head)" ;;
    esac
    (
        cd "$build"
        # The first of the modules found is used: ours, and tpm2-tss's as just built.
        export LD_LIBRARY_PATH="$module" TPM20TEST_TCTI="$tcti" RUSTTCTI_FSYNC=0
        export FAPI_TEST_ROOT_CERT=ca/root-ca/root-ca.cert.pem
        export FAPI_TEST_INT_CERT=ca/intermed-ca/intermed-ca.cert.pem
        export FAPI_TEST_CERTIFICATE="$state/ekcert.pem"
        export FAPI_TEST_CERTIFICATE_ECC="$state/ekecccert.pem"
        exec timeout "$patience" "$program"
    ) >"$log" 2>&1 </dev/null || rc=$?
    echo "$kind $name $rc" >>"$results"
}

swtpm_options=(--flags not-need-init --locality allow-set-locality)

if [ "${1:-}" = --one ]; then
    one "$2" "$3"
    exit 0
fi

build_source() {
    local version
    cd "$build"
    version="$(dpkg-parsechangelog -S Version | sed 's/-[^-]*$//')"
    # A source package is no git checkout.
    sed -i "s/^git describe.*/printf %s $version >VERSION/" bootstrap
    ./bootstrap
    ./configure --enable-integration --enable-self-generated-certificate --disable-doxygen-doc \
        --disable-static --disable-tcti-spi-helper --disable-tcti-i2c-helper \
        --disable-tcti-spi-ftdi --disable-tcti-i2c-ftdi --disable-tcti-spi-ltt2go \
        --disable-tcti-spidev CFLAGS="-O1 -w"
    make -j"$(nproc)" check TESTS=
}

work_in "${CHECK_TSS_DIR:-}"
build="$work/tpm2-tss"
logs="$work/logs"
results="$work/results"

# shellcheck disable=SC2086 # words
install_packages $packages
if [ ! -d "$build" ]; then
    step "getting tpm2-tss's source" quietly "$work/source.log" get_source tpm2-tss "$suites"
fi
if [ ! -e "$build/.built" ]; then
    step "building tpm2-tss and its integration programs" quietly "$work/build.log" build_source
    touch "$build/.built"
fi
build_module

simulator=""
case " $kinds " in
    *" mssim "*)
        simulator="$(test_program sockets)"
        ;;
esac

mapfile -t programs < <(find "$build/test/integration" -maxdepth 1 -type f -perm -u+x \
    '(' -name '*.int' -o -name '*.fint' ')' | sort | grep -E "$(IFS='|'; echo "${*:-.}")" || true)
[ "${#programs[@]}" -gt 0 ] || fail "there is no such program"
echo "== ${#programs[@]} programs of tpm2-tss $(cat "$build/VERSION"), each over: $kinds"
rm -rf "$logs" "$results"
mkdir -p "$logs"
touch "$results"
export build module logs results simulator
for kind in $kinds; do
    for program in "${programs[@]}"; do
        # FAPI opens its TPM several times: one in memory would be new each time.
        case "${kind##*:} $program" in "libtpms "*.fint) continue ;; esac
        printf '%s\0%s\0' "$kind" "$program"
    done
done | xargs -0 -n 2 -P "$(nproc)" "$PWD/scripts/check-tss.sh" --one

# A line for each kind of TPM, then each program that ours fail and theirs don't.
awk -v kinds="$kinds" '
    { rc[$1, $2] = $3; count[$1, $3 == 0 ? "passed" : $3 == 77 ? "skipped" : "failed"]++; names[$2] }
    END {
        n = split(kinds, kind, " ")
        for (i = 1; i <= n; i++) {
            k = kind[i]
            printf "%-29s %3d passed, %3d skipped, %3d failed\n", k,
                count[k, "passed"], count[k, "skipped"], count[k, "failed"]
        }
        for (name in names) {
            # Not run: then what is skipped is no difference.
            known = ("upstream-swtpm", name) in rc
            theirs = known ? rc["upstream-swtpm", name] : 0
            if (theirs != 0 && theirs != 77)
                printf "fails over tpm2-tss itself (%d): %s\n", theirs, name
            for (i = 1; i <= n; i++) {
                if (kind[i] == "upstream-swtpm" || !((kind[i], name) in rc)) continue
                ours = rc[kind[i], name]
                if (!known && ours == 77) continue
                if (ours != 0 && ours != theirs) {
                    printf "DIFFERS: %s gives %d over %s, %d over tpm2-tss\n", name, ours, kind[i], theirs
                    differs = 1
                }
            }
        }
        exit differs
    }' "$results" && verdict=0 || verdict=1
if [ -n "${CHECK_TSS_DIR:-}" ]; then echo "logs: $logs"; fi
exit "$verdict"
