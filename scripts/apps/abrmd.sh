#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-abrmd, the resource manager, on a TPM in a state file: many clients at
# once, a restart, and tpm2-pkcs11 over it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_tpm libtpms
start bus.log dbus-daemon --session --nofork --nopidfile --print-address \
    "--address=unix:dir=$work"
await "a bus" grep -q '^unix:' bus.log
DBUS_SESSION_BUS_ADDRESS="$(head -n 1 bus.log)"
export DBUS_SESSION_BUS_ADDRESS
is_there() {
    dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.NameHasOwner string:com.intel.tss2.Tabrmd | grep -q true
}
abrmd() {
    start abrmd.log tpm2-abrmd --session --allow-root "--tcti=$tpm"
    await "tpm2-abrmd's name on the bus" is_there
}
abrmd
export TPM2TOOLS_TCTI="tabrmd:bus_type=session"

# Two keys each; the TPM has room for three.
client() {
    local folder="$work/client.$1"
    mkdir "$folder"
    cd "$folder"
    echo "message of client $1" >message
    for _ in 1 2 3; do
        tpm2_createprimary -Q -C o -G ecc -c primary.ctx
        tpm2_create -Q -C primary.ctx -G ecc256:ecdsa-sha256 -u key.pub -r key.priv
        tpm2_load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx
        tpm2_readpublic -Q -c key.ctx -f pem -o key.pem
        tpm2_sign -Q -c key.ctx -g sha256 -f plain -o signature message
        openssl dgst -sha256 -verify key.pem -signature signature message
    done
}
six_clients

ok "a key" tpm2_createprimary -Q -C o -G ecc256:ecdsa-sha256 -c key.ctx \
    -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'
ok "is kept" tpm2_evictcontrol -Q -C o -c key.ctx 0x81010001
ok "its public part is read" tpm2_readpublic -Q -c 0x81010001 -f pem -o key.pem
ok "an NV index is defined" tpm2_nvdefine -Q 0x1500001 -C o -s 16 -a "ownerread|ownerwrite"
echo -n "kept by the TPM " >value
ok "and written" tpm2_nvwrite -Q -C o -i value 0x1500001
ok "a PCR is extended" tpm2_pcrextend "16:sha256=$(printf '%064x' 1)"
ok "and read" tpm2_pcrread sha256:16 -o pcr

stop "$daemon"
abrmd
echo message >message
ok "after a restart of tpm2-abrmd the key signs" \
    tpm2_sign -Q -c 0x81010001 -g sha256 -f plain -o signature message
ok "OpenSSL alone verifies the signature, by the key of before" \
    openssl dgst -sha256 -verify key.pem -signature signature message
ok "the NV index is read" tpm2_nvread -C o -s 16 -o read 0x1500001
same "and has what was written" read value
ok "the PCR is read" tpm2_pcrread sha256:16 -o pcr.after
same "and is as it was" pcr.after pcr

module="$(find /usr/lib -name libtpm2_pkcs11.so.1 -print -quit)"
export TPM2_PKCS11_STORE="$work/store" TPM2_PKCS11_TCTI="$TPM2TOOLS_TCTI" TPM2_PKCS11_LOG_LEVEL=0
mkdir store
ok "tpm2_ptool makes a store" tpm2_ptool init
ok "a token" tpm2_ptool addtoken --pid=1 --label=office --sopin=officer --userpin=first
ok "a key" tpm2_ptool addkey --algorithm=rsa2048 --label=office --key-label=rsa --userpin=first
ok "changes the PIN" tpm2_ptool changepin --label=office --user=user --old=first --new=second
tool=(pkcs11-tool --module "$module" --token-label office --login --pin second)
ok "pkcs11-tool signs" "${tool[@]}" --sign --mechanism SHA256-RSA-PKCS --label rsa \
    --input-file message --output-file signature
ok "reads the key" "${tool[@]}" --read-object --type pubkey --label rsa --output-file rsa.der
ok "OpenSSL alone verifies the signature" \
    openssl dgst -sha256 -verify rsa.der -keyform DER -signature signature message
