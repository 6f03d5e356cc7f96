#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-pkcs11 by tpm2_ptool, OpenSC's pkcs11-tool and ssh-agent.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

module="$(find /usr/lib -name libtpm2_pkcs11.so.1 -print -quit)"
[ -n "$module" ] || fail "there is no libtpm2_pkcs11.so.1"
export TPM2_PKCS11_LOG_LEVEL=0
echo "signed in a TPM" >message

for kind in libtpms swtpm; do
    new_tpm "$kind"
    export TPM2_PKCS11_TCTI="$tpm" TPM2_PKCS11_STORE="$work/$kind.store"
    mkdir "$TPM2_PKCS11_STORE"
    if [ "$kind" = libtpms ]; then first="$tpm"; fi
    tool=(pkcs11-tool --module "$module" --token-label office)
    ok "$kind: a token" pkcs11-tool --module "$module" --slot-index 0 --init-token \
        --label office --so-pin officer
    ok "$kind: a PIN" "${tool[@]}" --login --so-pin officer --init-pin --pin first
    tool+=(--login --pin first)
    ok "$kind: an RSA key" "${tool[@]}" --keypairgen --key-type rsa:2048 --label rsa --id 01
    ok "$kind: an EC key" "${tool[@]}" --keypairgen --key-type EC:prime256v1 --label ec --id 02
    ok "$kind: both are listed" "${tool[@]}" --list-objects
    says "$kind: with the RSA one" .out "Private Key Object; RSA"
    says "$kind: and the EC one" .out "Private Key Object; EC"
    for id in 01 02; do
        case $id in 01) mechanism=SHA256-RSA-PKCS ;; 02) mechanism=ECDSA-SHA256 ;; esac
        ok "$kind: key $id signs" "${tool[@]}" --sign --mechanism "$mechanism" \
            --signature-format openssl --id "$id" --input-file message --output-file signature
        ok "$kind: key $id is read" "${tool[@]}" --read-object --type pubkey --id "$id" \
            --output-file "$id.der"
        ok "$kind: OpenSSL alone verifies key $id's signature" openssl dgst -sha256 \
            -verify "$id.der" -keyform DER -signature signature message
    done
    ok "$kind: OpenSSL encrypts" openssl pkeyutl -encrypt -pubin -inkey 01.der -keyform DER \
        -pkeyopt rsa_padding_mode:oaep -in message -out encrypted
    ok "$kind: the TPM decrypts" "${tool[@]}" --decrypt --mechanism RSA-PKCS-OAEP \
        --hash-algorithm SHA-1 --id 01 --input-file encrypted --output-file decrypted
    same "$kind: it is what was encrypted" decrypted message
    ok "$kind: the PIN is changed" "${tool[@]}" --change-pin --new-pin second
    refused "$kind: the old one is no good" CKR_PIN_INCORRECT "${tool[@]}" --list-objects
    ok "$kind: the new one is" pkcs11-tool --module "$module" --token-label office \
        --login --pin second --sign --mechanism SHA256-RSA-PKCS --id 01 \
        --input-file message --output-file signature
    ok "$kind: OpenSSL verifies what it signed" openssl dgst -sha256 \
        -verify 01.der -keyform DER -signature signature message
done

# tpm2_ptool is many programs of tpm2-tools, and counts on a resource manager.
new_tpm libtpms
export TPM2TOOLS_TCTI="rusttcti:rm:${tpm#rusttcti:}" TPM2_PKCS11_STORE="$work/ptool.store"
export TPM2_PKCS11_TCTI="$TPM2TOOLS_TCTI"
mkdir "$TPM2_PKCS11_STORE"
ok "tpm2_ptool makes a store" tpm2_ptool init
ok "a token" tpm2_ptool addtoken --pid=1 --label=office --sopin=officer --userpin=first
ok "an RSA key" tpm2_ptool addkey --algorithm=rsa2048 --label=office --key-label=rsa --userpin=first
ok "an EC key" tpm2_ptool addkey --algorithm=ecc256 --label=office --key-label=ec --userpin=first
ok "lists both" tpm2_ptool listobjects --label=office
says "the RSA one" .out "CKA_LABEL: rsa"
says "the EC one" .out "CKA_LABEL: ec"
ok "changes the PIN" tpm2_ptool changepin --label=office --user=user --old=first --new=second
tool=(pkcs11-tool --module "$module" --token-label office --login --pin second)
ok "pkcs11-tool signs" "${tool[@]}" --sign --mechanism SHA256-RSA-PKCS --label rsa \
    --input-file message --output-file signature
ok "reads the key" "${tool[@]}" --read-object --type pubkey --label rsa --output-file rsa.der
ok "OpenSSL alone verifies the signature" openssl dgst -sha256 \
    -verify rsa.der -keyform DER -signature signature message
unset TPM2TOOLS_TCTI

# ssh-agent is setgid and has its own idea of where libraries are: a TCTI by its
# path.
cat >askpass <<'END'
#!/bin/sh
echo second
END
chmod 755 askpass
export TPM2_PKCS11_STORE="$work/libtpms.store" SSH_ASKPASS="$work/askpass" SSH_ASKPASS_REQUIRE=force
export TPM2_PKCS11_TCTI="${LD_LIBRARY_PATH%%:*}/libtss2-tcti-rusttcti.so.0:rm:${first#rusttcti:}"
export SSH_AUTH_SOCK="$work/agent"
start agent.log ssh-agent -D -a "$SSH_AUTH_SOCK" -P '/usr/lib/*,/lib/*'
await "ssh-agent's socket" test -S "$SSH_AUTH_SOCK"
ok "ssh-agent takes the token" ssh-add -s "$module"
ssh-add -L | grep ecdsa >ec.pub
ok "ssh-agent signs with the EC key" ssh-keygen -Y sign -f ec.pub -n file message
echo "somebody $(cut -d ' ' -f 1,2 ec.pub)" >signers
verify() { ssh-keygen -Y verify -f signers -I somebody -n file -s message.sig <message; }
ok "ssh-keygen verifies the signature" verify
