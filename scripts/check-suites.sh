#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the test suites of other parts of the TPM2 software stack over this
# module, and over tpm2-tss's own swtpm module as the baseline:
#
#   pytss   tpm2-pytss's tests, from PyPI
#   esapi   tss-esapi's integration tests, from crates.io
#   pkcs11  tpm2-pkcs11's integration programs, from Debian: over tpm2-abrmd, and
#           over the layer rm without it
#   openssl tpm2-openssl's test programs, from Debian: over tpm2-abrmd, and over
#           the layer rm without it
#
# Every difference from the baseline is printed, and fails unless
# scripts/suites/differences.txt has a reason for it. It takes some 20 minutes
# on two idle cores; `make check` doesn't run it. tpm2-tss's own suite is
# `make check-tss`.
#
#   check-suites.sh [pytss] [esapi] [pkcs11] [openssl]   only these
#   CHECK_SUITES_DIR=FOLDER     build there, and use what was built there before
#   CHECK_SUITES_FORMS="..."    only over these TCTIs (see tcti_of below)
#   CHECK_SUITES_PYTSS=3.0.0    another version of tpm2-pytss
#   CHECK_SUITES_DEBIAN="..."   Debian suites to get the source of tpm2-pkcs11 and
#                               tpm2-openssl from, where the configured ones don't
#                               have it
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
root=$PWD
# shellcheck source=suites/common.sh
. scripts/suites/common.sh

pytss="${CHECK_SUITES_PYTSS:-3.0.0}"
debian="${CHECK_SUITES_DEBIAN:-trixie forky}"
all_forms="upstream swtpm swtpm-persistent pcap-swtpm libtpms libtpms-file rm-libtpms-file rm-swtpm
    rm-fork-swtpm wrap-rm-libtpms-file"
forms="${CHECK_SUITES_FORMS:-}"

# The TCTI of a form: @CONF@ is where a swtpm is, @DIR@ a folder of the test's.
tcti_of() {
    case $1 in
        upstream) echo "swtpm:@CONF@" ;;
        swtpm) echo "rusttcti:swtpm:@CONF@" ;;
        swtpm-persistent) echo "rusttcti:swtpm:@CONF@,persistent=1" ;;
        pcap-swtpm) echo "rusttcti:pcap,file=@DIR@/pcap:swtpm:@CONF@" ;;
        libtpms) echo "rusttcti:libtpms" ;;
        libtpms-file) echo "rusttcti:libtpms:@DIR@/state" ;;
        rm-libtpms-file) echo "rusttcti:rm:libtpms:@DIR@/state" ;;
        rm-fork-swtpm) echo "rusttcti:rm,fork=1:swtpm:@CONF@" ;;
        rm-swtpm) echo "rusttcti:rm:swtpm:@CONF@" ;;
        wrap-rm-libtpms-file) echo "rusttcti:wrap,key=null:rm:libtpms:@DIR@/state" ;;
        *) fail "there is no form $1 ($all_forms)" ;;
    esac
}

# with_tpm FORM COMMAND...: $tcti, $conf and $dir are there for it.
with_tpm() (
    form=$1
    shift
    dir="$(mktemp -d "$work/tpm.XXXXXX")"
    peer=""
    trap 'if [ -n "$peer" ]; then end_process "$peer"; fi; rm -rf "$dir"' EXIT
    conf=""
    case "$(tcti_of "$form")" in
        *@CONF@*)
            start_swtpm tcp "$dir" "$dir/swtpm.log" --flags not-need-init,startup-clear
            ;;
    esac
    tcti="$(tcti_of "$form")"
    tcti="${tcti/@CONF@/$conf}"
    tcti="${tcti/@DIR@/$dir}"
    export tcti dir RUSTTCTI_FSYNC=0
    "$@"
)

# --- tpm2-pytss

setup_pytss() {
    /usr/bin/python3 -m venv --clear "$work/pytss-venv"
    local pip=("$work/pytss-venv/bin/python" -m pip)
    rm -rf "$work"/tpm2_pytss-*
    "${pip[@]}" install -q pytest pytest-timeout pytest-xdist
    (cd "$work" && "${pip[@]}" download -q --no-deps --no-binary tpm2-pytss "tpm2-pytss==$pytss" &&
        tar -xzf "tpm2_pytss-$pytss.tar.gz" && "${pip[@]}" install -q "./tpm2_pytss-$pytss.tar.gz")
    touch "$work/pytss-venv/$pytss.done"
}

run_pytss() {
    local form=$1 xml="$work/pytss.$1.xml"
    rm -f "$xml"
    # A failed test is for the comparison to see.
    (
        cd "$work/tpm2_pytss-$pytss"
        export LD_LIBRARY_PATH="$module" PYTHONPATH="$root/scripts/suites" RUSTTCTI_FSYNC=0
        SUITE_FORM="$form" SUITE_TCTI="$(tcti_of "$form")" "$work/pytss-venv/bin/python" -m pytest \
            -p no:cacheprovider -p pytss_tpm --import-mode=importlib -q -n "$(nproc)" \
            --timeout 300 --junitxml "$xml" test
    ) >"$work/pytss.$form.log" 2>&1 </dev/null || true
    python3 - "$form" "$xml" <<'END'
import sys
import xml.etree.ElementTree as tree

form, xml = sys.argv[1:]
for case in tree.parse(xml).iter("testcase"):
    found = {child.tag for child in case}
    outcome = "failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed"
    name = case.get("classname").removeprefix("test.") + "." + case.get("name")
    print(form, name.strip("."), outcome, sep="\t")
END
}

# --- tss-esapi

setup_esapi() {
    local manifest
    manifest="$(cargo metadata --locked --format-version 1 \
        --manifest-path examples/tss-esapi/Cargo.toml | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "tss-esapi":
        print(package["manifest_path"])')"
    rm -rf "$work/tss-esapi"
    cp -r "$(dirname "$manifest")" "$work/tss-esapi"
    cd "$work/tss-esapi"
    CARGO_TARGET_DIR="$work/tss-esapi-target" cargo test --locked --no-run \
        --test integration_tests --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1 >"$work/tss-esapi.program"
    test -s "$work/tss-esapi.program"
    # It knows four names of TCTIs, ours not among them: ours stands in for one.
    mkdir -p "$work/tss-esapi-module"
    ln -sf "$module/libtss2-tcti-rusttcti.so.0" "$work/tss-esapi-module/libtss2-tcti-device.so.0"
}

run_esapi() {
    with_tpm "$1" esapi "$1" >"$work/esapi.$1.log" 2>&1 || true
    # A test's log may stand between its name and its outcome; at the end there
    # is a list of those that failed, unless the program did not get so far.
    python3 - "$1" "$work/esapi.$1.log" <<'END'
import re
import sys

form, log = sys.argv[1:]
text = open(log, errors="replace").read()
tests = re.findall(r"^test (\S+) \.\.\. (ignored)?", text, re.M)
_, listed, end = text.rpartition("\nfailures:\n")
failed = set(re.findall(r"^    (\S+)$", end, re.M)) if listed else set()
if not re.search(r"^test result: ", text, re.M):
    failed.update(name for name, _ in tests[-1:])
for name, ignored in tests:
    outcome = "failed" if name in failed else "skipped" if ignored else "passed"
    print(form, name, outcome, sep="\t")
END
}

esapi() {
    cd "$work/tss-esapi"
    export TEST_TCTI="$tcti"
    if [ "$1" != upstream ]; then
        export TEST_TCTI="device:${tcti#rusttcti:}" LD_LIBRARY_PATH="$work/tss-esapi-module"
    fi
    timeout 1800 "$(cat "$work/tss-esapi.program")" --test-threads=1 </dev/null
}

# --- What tpm2-pkcs11 and tpm2-openssl share: both need a resource manager

# run_on_bus SUITE FORM: runs the suite in this script once more, inside of a bus of its
# own for tpm2-abrmd, where it is used.
run_on_bus() {
    local log="$work/$1.$2.log"
    with_tpm "$2" timeout 1800 dbus-run-session -- "$root/scripts/check-suites.sh" \
        "--$1" "$2" >"$log" 2>&1 </dev/null || true
    sed -n 's/^outcome //p' "$log"
}

# managed FORM LOG: sets $managed to a TCTI with a resource manager: that of the form,
# if it has the layer rm, or a tpm2-abrmd over it, on the bus that there is.
managed() {
    case $1 in
        *rm-*)
            managed="$tcti"
            export LD_LIBRARY_PATH="$module"
            return
            ;;
    esac
    LD_LIBRARY_PATH="$module" tpm2-abrmd --session --allow-root --tcti="$tcti" >"$2" 2>&1 &
    broker=$! # not local: the trap needs it
    trap 'end_process "$broker"' EXIT
    managed="tabrmd:bus_type=session"
    for _ in $(seq 300); do
        kill -0 "$broker" || fail "tpm2-abrmd does not start" "$2"
        if tpm2_getrandom -T "$managed" 1 >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "tpm2-abrmd does not answer" "$2"
}

# outcome FORM TEST COMMAND...: runs a test and prints its outcome. The test may have left
# its line unfinished.
outcome() {
    local form=$1 test=$2 word=passed
    shift 2
    "$@" || case $? in 77) word=skipped ;; *) word=failed ;; esac
    printf '\noutcome %s\t%s\t%s\n' "$form" "$test" "$word"
}

# --- tpm2-pkcs11

setup_pkcs11() {
    local test name
    if [ ! -d "$work/tpm2-pkcs11" ]; then get_source tpm2-pkcs11 "$debian"; fi
    cd "$work/tpm2-pkcs11"
    # The Python of Debian's packages, wherever another one is.
    PATH=/usr/bin:/bin:/usr/sbin:/sbin ./configure --with-fapi=no --disable-hardening CFLAGS="-O1 -w"
    make -j"$(nproc)"
    # What --enable-integration builds, without the Java compiler that it wants.
    for test in test/integration/pkcs-*.c; do
        name="$(basename "$test" .c)"
        cc -O1 -w -I. -Isrc -Isrc/lib -Itest/integration "$test" test/integration/test.c \
            src/.libs/libtpm2_test_pkcs11.a src/.libs/libtpm2_test_internal.a \
            -ltss2-esys -ltss2-mu -ltss2-rc -ltss2-tctildr -lcmocka -lcrypto -lsqlite3 -lyaml \
            -o "test/integration/${name%.int}.int"
    done
    touch .built
}

# On a bus, with $tcti, $dir and $work in the environment.
pkcs11() {
    local form=$1 test
    cd "$work/tpm2-pkcs11"
    managed "$form" "$work/pkcs11.$form.abrmd.log"
    export T="$PWD" TEST_FIXTURES="$PWD/test/integration/fixtures" HOME="$dir"
    export TPM2TOOLS_TCTI="$managed" TPM2_PKCS11_TCTI="$managed"
    export PATH="$PWD/tools:/usr/bin:/bin:/usr/sbin:/sbin" PYTHONPATH="$PWD/tools"
    export TPM2_PKCS11_MODULE="$PWD/src/.libs/libtpm2_pkcs11.so"
    mkdir "$dir/prepared"
    outcome "$form" create_pkcs_store.sh \
        bash test/integration/scripts/create_pkcs_store.sh --tmpdir="$dir/prepared"
    export TPM2_PKCS11_STORE="$dir/store"
    for test in test/integration/*.int test/integration/{pkcs11-tool,openssl,tls-tests}.sh; do
        rm -rf "$dir/store"
        cp -r "$dir/prepared" "$dir/store"
        outcome "$form" "$(basename "$test")" timeout 300 "$test"
    done
}

# --- tpm2-openssl

setup_openssl() {
    local test
    if [ ! -d "$work/tpm2-openssl" ]; then get_source tpm2-openssl "$debian"; fi
    cd "$work/tpm2-openssl"
    # Its tests only: the provider is the one that is installed.
    for test in test/*.c; do
        cc -O1 -w -o "${test%.c}" "$test" -lcrypto
    done
    touch .built
}

# On a bus, with $tcti, $dir and $work in the environment.
openssl_tests() {
    local form=$1 test tests
    managed "$form" "$work/openssl.$form.abrmd.log"
    export TPM2TOOLS_TCTI="$managed" TPM2OPENSSL_TCTI="$managed" HOME="$dir"
    OPENSSL_MODULES="$(openssl version -m | sed 's/.*"\(.*\)"/\1/')"
    export OPENSSL_MODULES
    cd "$work/tpm2-openssl"
    mapfile -t tests < <(grep -o 'test/[A-Za-z0-9_/]*\.sh' Makefile.am | sort -u)
    for test in test/*.c; do tests+=("${test%.c}"); done
    for test in "${tests[@]}"; do
        rm -rf "$dir/run"
        mkdir "$dir/run"
        # Some tests kill their TLS server. That is a power loss for an embedded TPM, and
        # three of them are a lockout.
        tpm2_dictionarylockout -c
        outcome "$form" "$(basename "$test")" \
            env -C "$dir/run" timeout 120 "$work/tpm2-openssl/$test"
    done
}

case ${1:-} in
    --pkcs11)
        pkcs11 "$2"
        exit 0
        ;;
    --openssl)
        openssl_tests "$2"
        exit 0
        ;;
esac

work_in "${CHECK_SUITES_DIR:-}"

if [ $# -eq 0 ]; then set -- pytss esapi pkcs11 openssl; fi
packages=(gcc libc6-dev libtpms0 libtss2-dev libtss2-tcti-swtpm0 pkg-config python3 swtpm)
for suite in "$@"; do
    case $suite in
        pytss) packages+=(python3-dev python3-venv) ;;
        esapi) ;;
        pkcs11)
            packages+=(dbus-daemon dpkg-dev expect gnutls-bin libcmocka-dev libp11-kit-dev
                libsqlite3-dev libssl-dev libtss2-tcti-tabrmd0 libyaml-dev make opensc openssl
                python3-cryptography python3-pyasn1 python3-pyasn1-modules python3-tpm2-pytss
                python3-yaml sqlite3 tpm2-abrmd tpm2-openssl tpm2-tools xxd)
            ;;
        openssl)
            packages+=(curl dbus-daemon dpkg-dev libssl-dev libtss2-tcti-tabrmd0 openssl tpm2-abrmd
                tpm2-openssl tpm2-tools)
            ;;
        *) usage ;;
    esac
done
install_packages "${packages[@]}"
build_module

verdict=0
for suite in "$@"; do
    case $suite in
        pytss)
            if [ ! -e "$work/pytss-venv/$pytss.done" ]; then
                step "getting and building tpm2-pytss $pytss" quietly "$work/pytss.log" setup_pytss
            fi
            ;;
        esapi)
            if [ ! -s "$work/tss-esapi.program" ]; then
                step "getting and building tss-esapi and its tests" quietly "$work/esapi.log" setup_esapi
            fi
            ;;
        pkcs11)
            if [ ! -e "$work/tpm2-pkcs11/.built" ]; then
                step "getting and building tpm2-pkcs11 and its tests" quietly "$work/pkcs11.log" setup_pkcs11
            fi
            ;;
        openssl)
            if [ ! -e "$work/tpm2-openssl/.built" ]; then
                step "getting and building tpm2-openssl's tests" quietly "$work/openssl.log" setup_openssl
            fi
            ;;
    esac
    results="$work/$suite.results"
    : >"$results"
    for form in upstream ${forms:-${all_forms#upstream }}; do
        echo "== $suite over $(tcti_of "$form")"
        case $suite in
            pkcs11 | openssl) run_on_bus "$suite" "$form" ;;
            *) "run_$suite" "$form" ;;
        esac >>"$results"
    done
    python3 scripts/suites/compare.py "$suite" "$results" scripts/suites/differences.txt || verdict=1
done
if [ -n "${CHECK_SUITES_DIR:-}" ]; then echo "logs: $work/*.log"; fi
exit "$verdict"
