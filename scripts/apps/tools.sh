#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-tools: -T and the environment variable, bytes through a pipe, and many
# programs at once on one TPM.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_tpm swtpm
process="$tpm"
new_tpm libtpms
file="$tpm"
extend
zeros="$(printf '%064d' 0)"

ok "the environment names a TPM" env "TPM2TOOLS_TCTI=$process" tpm2_pcrread sha256:16
says "it is that one" .out "16: 0x$zeros"
ok "-T counts more" env "TPM2TOOLS_TCTI=$process" tpm2_pcrread -T "$file" sha256:16
if grep -q "$zeros" .out; then fail "it was the other TPM" .out; fi
ok "-T counts more than a name that there isn't" \
    env TPM2TOOLS_TCTI=rusttcti:nothing tpm2_pcrread -T "$file" sha256:16
refused "a name that there isn't is told with those that there are" "libtpms" \
    env TPM2TOOLS_TCTI=rusttcti:nothing tpm2_pcrread sha256:16

printf '\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x10' >sent # TPM2_GetRandom
# shellcheck disable=SC2016
ok "tpm2_send between two pipes" bash -c 'cat sent | tpm2_send -T "$0" | cat >response' "$file"
[ "$(stat -c %s response)" = 28 ] || fail "the response is one of 28 bytes"
ok "tpm2_send as the other end of the transport cmd" tpm2_pcrread \
    -T "rusttcti:cmd:tpm2_send -T $file" sha256:16
if grep -q "$zeros" .out; then fail "it was another TPM" .out; fi
echo "   it is that TPM"

# Two keys each; the TPM has room for three objects and three sessions.
client() {
    mkdir "client.$1"
    cd "client.$1"
    export TPM2TOOLS_TCTI="$tpm"
    echo "message of client $1" >message
    for _ in 1 2 3; do
        tpm2_createprimary -Q -C o -G ecc -p parent -c primary.ctx
        tpm2_create -Q -C primary.ctx -P parent -p key -G ecc256:ecdsa-sha256 -u key.pub -r key.priv
        tpm2_load -Q -C primary.ctx -P parent -u key.pub -r key.priv -c key.ctx
        tpm2_readpublic -Q -c key.ctx -f pem -o key.pem
        tpm2_sign -Q -c key.ctx -p key -g sha256 -f plain -o signature message
        openssl dgst -sha256 -verify key.pem -signature signature message
    done
}
for layers in rm: wrap,key=null:rm:; do
    new_tpm "${layers}swtpm"
    six_clients "${layers}swtpm: "
    rm -r client.?
done

# Sessions that are left loaded, as by programs that end without closing the TPM, have
# all its places. The layer rm leaves them alone, and says what flushes them.
new_tpm libtpms
bare="${tpm#rusttcti:}"
printf '\x80\x01\0\0\0\x2b\0\0\x01\x76\x40\0\0\x07\x40\0\0\x07\0\x10%016d\0\0\0\0\x10\0\x0b' 0 >start
for _ in 1 2 3; do
    tpm2_send -T "$tpm" <start >response
    [ "$(stat -c %s response)" = 32 ] || fail "a session was not started"
done
for layers in rm wrap,key=null:rm; do
    refused "$layers: says that leftovers have the places, and what helps" "rm,leftovers=flush" \
        tpm2_startauthsession -T "rusttcti:$layers:$bare" -S session.ctx
done
for layers in rm wrap,key=null:rm; do
    ok "$layers,leftovers=flush: flushes them" \
        tpm2_startauthsession -T "rusttcti:$layers,leftovers=flush:$bare" -S session.ctx
done
