# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# Functions for the scripts of this folder. check-apps.sh has set
# LD_LIBRARY_PATH.
# shellcheck source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# shellcheck disable=SC2034 # a script's
here="$PWD/scripts/apps"
work_in
cd "$work"
unset "${!TPM2@}" "${!TSS2@}" "${!TCTI@}" OPENSSL_CONF STRONGSWAN_CONF
# Whatever a program leaves behind, it leaves here.
export TMPDIR="$work" HOME="$work" RUSTTCTI_FSYNC=0 LC_ALL=C

daemons=()
tidy() {
    local pid
    for pid in "${daemons[@]}"; do end_process "$pid"; done
}

# Starts a daemon, whose process id is then in $daemon, and whose output in the
# file $1.
start() {
    local log=$1
    shift
    # At once, so that no program reads the leftovers of another one.
    : >"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    daemon=$!
    daemons+=("$daemon")
}

# Ends a daemon and waits for its end.
stop() {
    local pid rest=()
    for pid in "${daemons[@]}"; do
        if [ "$pid" != "$1" ]; then rest+=("$pid"); fi
    done
    daemons=("${rest[@]}")
    end_process "$1"
}

# A command that must succeed.
ok() {
    local what=$1
    shift
    "$@" >"$work/.out" 2>&1 </dev/null || fail "$what ($*: $?)" "$work/.out"
    echo "   $what"
}

# A command that must fail, and say why.
refused() {
    local what=$1 why=$2
    shift 2
    if "$@" >"$work/.out" 2>&1 </dev/null; then fail "$what ($* succeeded)" "$work/.out"; fi
    grep -q -e "$why" "$work/.out" || fail "$what ($* says nothing of $why)" "$work/.out"
    echo "   $what"
}

# A file that must have been printed to or written.
says() {
    grep -q -e "$3" "$2" || fail "$1 ($2 does not have $3)" "$2"
    echo "   $1"
}

same() {
    cmp -s "$2" "$3" || fail "$1 ($2 and $3 differ)"
    echo "   $1"
}

# Waits for a condition, half a minute at most.
await() {
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    tail -n 10 "$work"/*.log >"$work/.out" 2>/dev/null || true
    fail "$what did not happen" "$work/.out"
}

# The TCTI of a TPM of its own, in $tpm: "libtpms" in a state file, or "swtpm"
# as a process, with layers before it or without, as in rm:libtpms. Before OPENSSL_CONF is set: swtpm, too, computes with OpenSSL.
new_tpm() {
    local folder layers="${1%"${1##*:}"}"
    folder="$(mktemp -d "$work/tpm.XXXX")"
    case ${1##*:} in
        libtpms) tpm="rusttcti:${layers}libtpms:$folder/state" ;;
        swtpm)
            start_swtpm tcp "$folder" "$folder/log" --flags not-need-init,startup-clear
            daemons+=("$peer")
            # By the default host, because the comma before another option ends
            # this one in /etc/crypttab.
            tpm="rusttcti:${layers}swtpm:${conf#*,}"
            ;;
    esac
}

# six_clients [WHERE]: runs the function `client` of the script six times at once, each
# with its number.
six_clients() {
    local number clients=()
    for number in 1 2 3 4 5 6; do
        (client "$number") >"client.$number.log" 2>&1 </dev/null &
        clients+=("$!")
    done
    for number in 1 2 3 4 5 6; do
        wait "${clients[$((number - 1))]}" ||
            fail "${1:-}client $number of six" "client.$number.log"
    done
    echo "   ${1:-}six clients at once, two keys each, sign three times"
}

# Makes a key in the TPM of TPM2OPENSSL_TCTI, in key.pem, and its certificate for
# localhost, in crt.pem.
server_key() {
    openssl genpkey -provider tpm2 -provider default -algorithm RSA -out key.pem 2>.out ||
        fail "a key" .out
    openssl req -provider tpm2 -provider default -x509 -days 2 -key key.pem -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -out crt.pem 2>.out || fail "a certificate" .out
}

# connections [again]: makes 200 TLS connections to the server at $port, 8 at a time.
# Each must be served pages/index.html; with `again`, one that is reset is made again,
# three times at most. The pages go to the file served, and the reasons, with the end
# of the server's error.log, to .out.
connections() {
    local lost
    one() {
        for _ in 1 2 3; do
            curl --silent --show-error --max-time 60 --cacert crt.pem \
                "https://localhost:$port/index.html" 2>"refusal.$1" && break
            [ -n "$again" ] && grep -q "Connection reset by peer" "refusal.$1" || break
        done
    }
    export -f one
    export port again="${1:-}"
    rm -f refusal.*
    seq 200 | xargs -P 8 -I{} bash -c 'one {}' >served || true
    lost=$((200 - $(grep -c "^a page$" served || true)))
    if [ "$lost" != 0 ]; then
        echo "$lost of 200 were not served" >.out
        cat refusal.* >>.out
        tail -n 20 error.log >>.out
        return 1
    fi
}

# Changes PCR 16 of $tpm.
extend() {
    tpm2_pcrextend -T "$tpm" "16:sha256=$(printf '%064x' 1)"
}

# Writes openssl.cnf, with these properties or, without any: keys by the TPM, hashes
# and ciphers not, because a TPM has no room for those of a TLS connection, unless the
# layer rm makes it; nor random numbers, which OpenSSL has faster. On the command line,
# -propquery does not reach all of them.
openssl_config() {
    cat >openssl.cnf <<END
openssl_conf = init
[init]
providers = providers
alg_section = algorithms
[providers]
tpm2 = active
default = active
[active]
activate = 1
[algorithms]
default_properties = ${1:-?provider=tpm2,tpm2.digest!=yes,tpm2.cipher!=yes,tpm2.rand!=yes}
END
}
