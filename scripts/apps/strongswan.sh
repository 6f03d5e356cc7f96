#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# strongSwan's TPM plugin, by its tool pki: a CA and a VPN gateway whose keys
# are in the TPM. It accepts only the names device, tabrmd and mssim, so our
# module is linked under the first of them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

mkdir link
ln -s "${LD_LIBRARY_PATH%%:*}/libtss2-tcti-rusttcti.so.0" link/libtss2-tcti-device.so.0
# The first signature by such a key, without "noda", is answered by TPM_RC_RETRY.
# ESYS tries again then, and strongSwan does not: the layer retry does.
sign='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign'

for kind in libtpms swtpm; do
    new_tpm "$kind"
    tpm="rusttcti:retry:rm:${tpm#rusttcti:}"
    ok "$kind: an RSA key for the CA" tpm2_createprimary -T "$tpm" -Q -C o -G rsa2048:rsassa:null \
        -a "$sign" -c ca.ctx
    ok "$kind: is kept" tpm2_evictcontrol -T "$tpm" -Q -C o -c ca.ctx 0x81010001
    ok "$kind: an EC key for the gateway" tpm2_createprimary -T "$tpm" -Q -C o -G ecc256:ecdsa-sha256 \
        -a "$sign" -c vpn.ctx
    ok "$kind: is kept" tpm2_evictcontrol -T "$tpm" -Q -C o -c vpn.ctx 0x81010002
    cat >strongswan.conf <<END
pki {
    load = pem pkcs1 pkcs8 pubkey x509 sha1 sha2 random nonce gmp openssl tpm
    plugins {
        tpm {
            tcti {
                name = device
                opts = ${tpm#rusttcti:}
            }
        }
    }
}
END
    pki() {
        local out=$1
        shift
        STRONGSWAN_CONF="$work/strongswan.conf" LD_LIBRARY_PATH="$work/link:$LD_LIBRARY_PATH" \
            command pki "$@" --outform pem >"$out"
    }
    ok "$kind: pki signs the CA's certificate" \
        pki ca.pem --self --ca --keyid 0x81010001 --type priv --dn CN=ca --lifetime 2
    ok "$kind: OpenSSL alone verifies it" openssl verify -CAfile ca.pem ca.pem
    ok "$kind: pki signs the gateway's request" \
        pki vpn.csr --req --keyid 0x81010002 --type priv --dn CN=vpn
    ok "$kind: OpenSSL alone verifies it" openssl req -in vpn.csr -verify -noout
    ok "$kind: pki issues the gateway's certificate" pki vpn.pem --issue --in vpn.csr \
        --type pkcs10 --cacert ca.pem --cakeyid 0x81010001 --lifetime 1
    ok "$kind: OpenSSL alone verifies it" openssl verify -CAfile ca.pem vpn.pem
done
