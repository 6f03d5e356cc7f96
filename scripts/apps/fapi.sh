#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# FAPI, by the tools tss2_*, with both profiles that tpm2-tss brings, also over the
# layers rm and wrap.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

profiles=/etc/tpm2-tss/fapi-profiles
head -c 32 /dev/urandom >digest
echo "a secret" >secret
echo -n "twenty bytes to keep" >value
head -c 20 /dev/urandom | base64 >event.txt

for kind in libtpms swtpm rm:libtpms rm:swtpm wrap,key=null:rm:libtpms wrap,key=null:swtpm; do
    used=(ECCP256SHA256)
    # The layers see the same commands with either.
    case $kind in libtpms | swtpm) used+=(RSA2048SHA256) ;; esac
    for profile in "${used[@]}"; do
        new_tpm "$kind"
        name="$kind, $profile"
        folder="$work/$kind.$profile"
        mkdir -p "$folder/user" "$folder/system" "$folder/log"
        cat >conf.json <<END
{
    "profile_name": "P_$profile",
    "profile_dir": "$profiles/",
    "user_dir": "$folder/user",
    "system_dir": "$folder/system",
    "log_dir": "$folder/log",
    "tcti": "$tpm",
    "ek_cert_less": "yes",
    "system_pcrs": []
}
END
        export TSS2_FAPICONF="$work/conf.json"
        case $profile in ECC*) scheme=() ;; *) scheme=(-s RSA_SSA) ;; esac

        ok "$name: provisioned" tss2_provision
        ok "$name: a key" tss2_createkey -p HS/SRK/key -t "sign,noda" -a ""
        ok "$name: signs" tss2_sign -p HS/SRK/key "${scheme[@]}" -d digest -o signature -k key.pem -f
        ok "$name: FAPI verifies" tss2_verifysignature -p HS/SRK/key -d digest -i signature
        ok "$name: OpenSSL alone verifies" openssl pkeyutl -verify -pubin -inkey key.pem \
            -sigfile signature -in digest -pkeyopt digest:sha256
        ok "$name: an NV index" tss2_createnv -p /nv/Owner/value -t noda -s 20 -a ""
        ok "$name: written" tss2_nvwrite -p /nv/Owner/value -i value
        ok "$name: read" tss2_nvread -p /nv/Owner/value -o read -f
        same "$name: is what was written" read value
        ok "$name: a secret is sealed" tss2_createseal -p HS/SRK/seal -t noda -a "" -i secret
        ok "$name: unsealed" tss2_unseal -p HS/SRK/seal -o unsealed -f
        same "$name: it is the secret" unsealed secret

        cat >policy.json <<END
{"description": "PCR 16 is untouched", "policy": [{"type": "POLICYPCR", "pcrs": [
    {"pcr": 16, "hashAlg": "TPM2_ALG_SHA256", "digest": "$(printf '%064x' 0)"}]}]}
END
        ok "$name: a policy" tss2_import -p /policy/pcr16 -i policy.json
        ok "$name: a secret is sealed to it" \
            tss2_createseal -p HS/SRK/bound -t noda -P /policy/pcr16 -a "" -i secret
        ok "$name: unsealed" tss2_unseal -p HS/SRK/bound -o unsealed -f
        same "$name: it is the secret" unsealed secret
        ok "$name: the PCR is extended" tss2_pcrextend -x 16 -i event.txt
        ok "$name: and read" tss2_pcrread -x 16 -o pcr -l log -f
        refused "$name: the secret stays sealed" "0x" tss2_unseal -p HS/SRK/bound -o no -f

        ok "$name: a quoting key" tss2_createkey -p HS/SRK/quote -t "sign,restricted,noda" -a ""
        ok "$name: quotes" tss2_quote -p HS/SRK/quote -x "16" -Q digest -q quote \
            -l log -o signature -f
    done
done
