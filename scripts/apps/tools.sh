#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-tools: which of -T and the environment counts, and bytes through a pipe.
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
