#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# systemd: a LUKS volume that is enrolled in the TPM and unlocked by it, and
# credentials. systemd expects a resource manager: it leaves sessions loaded,
# and exits without closing the TPM.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

printf passphrase >passphrase
export PASSWORD=passphrase
cryptsetup=/usr/lib/systemd/systemd-cryptsetup

# Where systemd-cryptsetup would set a device up, it only tries the passphrase.
cc -Wall -Wextra -Werror -shared -fPIC -o try.so "$here/try-passphrase.c"
unlock() {
    # A comma ends an option, unless a backslash is before it.
    LD_PRELOAD="$work/try.so" timeout 60 "$cryptsetup" attach volume volume - \
        "tpm2-device=${1//,/\\,},headless=1"
}

for kind in flush:libtpms flush:swtpm rm:libtpms rm:swtpm \
    wrap,key=null:rm:libtpms wrap,key=null:flush:swtpm; do
    new_tpm "$kind"
    rm -f volume
    truncate -s 20M volume
    ok "$kind: a LUKS volume" cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 \
        --pbkdf-force-iterations 1000 volume passphrase
    ok "$kind: PCR 16 is extended" extend
    ok "$kind: systemd-cryptenroll seals a key to it" \
        systemd-cryptenroll "--tpm2-device=$tpm" --tpm2-pcrs=16 volume
    ok "$kind: systemd-cryptsetup unseals the key" unlock "$tpm"
    says "$kind: the key opens the volume" .out "opens key slot 1"

    echo "a secret" >secret
    ok "$kind: systemd-creds encrypts" systemd-creds encrypt --with-key=tpm2 \
        "--tpm2-device=$tpm" --tpm2-pcrs=16 --name=it secret credential
    ok "$kind: systemd-creds decrypts" \
        systemd-creds decrypt "--tpm2-device=$tpm" --name=it credential decrypted
    same "$kind: it is the secret" decrypted secret

    ok "$kind: PCR 16 is extended once more" extend
    rm decrypted
    refused "$kind: the volume stays locked" "policy" unlock "$tpm"
    refused "$kind: the credential stays encrypted" "policy" \
        systemd-creds decrypt "--tpm2-device=$tpm" --name=it credential decrypted
done
