#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# clevis: a secret, and a LUKS volume's passphrase, that only the TPM can
# decrypt.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

echo "a secret" >secret
encrypt() { clevis encrypt tpm2 "$1" <secret >encrypted; }
decrypt() { clevis decrypt <encrypted >decrypted; }

for kind in libtpms swtpm; do
    new_tpm "$kind"
    export TPM2TOOLS_TCTI="$tpm"
    ok "$kind: encrypted, without a policy" encrypt '{}'
    ok "$kind: decrypted" decrypt
    same "$kind: it is the secret" decrypted secret
    ok "$kind: encrypted, bound to PCR 16 and 23" \
        encrypt '{"pcr_bank":"sha256","pcr_ids":"16,23"}'
    ok "$kind: decrypted" decrypt
    same "$kind: it is the secret" decrypted secret
    ok "$kind: PCR 16 is extended" extend
    refused "$kind: no more" "policy check failed" decrypt
done

new_tpm libtpms
export TPM2TOOLS_TCTI="$tpm"
printf passphrase >passphrase
truncate -s 20M volume
ok "a LUKS volume" cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 \
    --pbkdf-force-iterations 1000 volume passphrase
ok "clevis binds it to PCR 16" clevis luks bind -y -k passphrase -d volume tpm2 \
    '{"pcr_bank":"sha256","pcr_ids":"16"}'
ok "clevis tells its passphrase" clevis luks pass -d volume -s 1
cp .out told
ok "which opens it" cryptsetup open --test-passphrase --key-slot 1 --key-file told volume
ok "PCR 16 is extended" extend
refused "no more" "policy check failed" clevis luks pass -d volume -s 1
