#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A tour of a TPM that lives inside each program of tpm2-tools, in a few minutes.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh demo
work_in
# Installed as it would be on the system, but into a folder of the demo's own.
stage_module

cd "$work"
export LD_LIBRARY_PATH="$RUSTTCTI_MODULE_DIR"
export TPM2TOOLS_TCTI="rusttcti:libtpms:tpm.state"
unset TPM2TOOLS_LOG TSS2_LOG TSS2_LOGFILE

bold='' plain=''
if [ -t 1 ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
steps=0
tell() {
    steps=$((steps + 1))
    printf '\n%s%s. %s%s\n' "$bold" "$steps" "$*" "$plain"
}

# Shows a command as one would type it, and runs it.
run() {
    printf '$ %s\n' "$*"
    bash -eo pipefail -c "$*" || fail "$*"
}

cat <<END

Every command below is a program of its own, from Debian's tpm2-tools. Each
loads our module by its name and finds the same TPM again, in a state file:

\$ export TPM2TOOLS_TCTI=$TPM2TOOLS_TCTI
END

tell "Random bytes, from the TPM's generator."
run tpm2_getrandom --hex 16
echo

tell "A primary key, derived from the seed of the owner's hierarchy."
run tpm2_createprimary -Q -C o -G ecc256 -c primary.ctx

tell "A signing key below it. Its private part is only ever in the clear inside the TPM."
run tpm2_create -Q -C primary.ctx -G ecc256:ecdsa-sha256 -c key.ctx
echo "A TPM has room for three loaded objects, and these two commands left three in it:"
run tpm2_flushcontext --transient-object
echo "The signing key is to stay, under a handle of its own:"
run tpm2_evictcontrol -Q -C o -c key.ctx 0x81000001
run tpm2_readpublic -Q -c 0x81000001 -f pem -o key.pem
run cat key.pem

tell "A signature, and its verification."
run "echo 'signed in a TPM' > message"
run tpm2_sign -Q -c 0x81000001 -g sha256 -o signature message
run tpm2_verifysignature -c 0x81000001 -g sha256 -m message -s signature
echo "(no complaint: the signature is good)"

tell "A PCR is extended by one process..."
run 'tpm2_pcrextend 23:sha256=$(sha256sum message | cut -d " " -f 1)'
echo "...and read by the next: what is volatile in a TPM is kept as well."
run tpm2_pcrread sha256:23

tell "A quote: the TPM signs that PCR's value, and a verifier checks it without a TPM."
run tpm2_quote -Q -c 0x81000001 -l sha256:23 -q 0123456789abcdef -m quote -s quote.sig -o quote.pcrs
run tpm2_checkquote -Q -u key.pem -m quote -s quote.sig -f quote.pcrs -q 0123456789abcdef
echo "(no complaint: the quote is good)"

tell "Non-volatile memory: an index is defined, written, and read by another process."
run tpm2_nvdefine -Q 0x1500001 -C o -s 16 -a "'ownerread|ownerwrite'"
run "printf 'kept in NV' | tpm2_nvwrite -C o -i - 0x1500001"
run "tpm2_nvread -C o -s 10 0x1500001"
echo

cat <<END

That TPM is gone now, with its file. To go on: \`sudo make install\`, then for instance
  tpm2_getrandom -T rusttcti:libtpms --hex 16          (a TPM in memory)
  export TPM2TOOLS_TCTI=rusttcti:libtpms:\$HOME/my.tpm  (one that lasts)
and README.md for all the rest.
END
