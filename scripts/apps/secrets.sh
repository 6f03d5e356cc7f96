#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Records the traffic below the layer wrap while programs that use few or no
# sessions seal, sign and unlock. None of their secrets is in the recording.
# Without the layer some of them are, which shows that the search works.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# A TPM in a state file, recorded below the layers $1.
recorded_tpm() {
    new_tpm libtpms
    rm -f recording
    tpm="rusttcti:$1pcap,file=$work/recording:flush:${tpm#rusttcti:}"
}

# search FILE...: prints the names of those files whose bytes are in the recording.
search() {
    python3 - recording "$@" <<'END'
import sys

recording, *secrets = (open(name, "rb").read() for name in sys.argv[1:])
if len(recording) < 2000:
    sys.exit("nothing was recorded")
for name, secret in zip(sys.argv[2:], secrets):
    if len(secret) < 8:
        sys.exit(f"{name} is too short to be looked for")
    if secret in recording:
        print(name)
END
}
hidden() {
    local what=$1 found
    shift
    found="$(search "$@")" || fail "$what: $found"
    [ -z "$found" ] || fail "$what: these secrets pass: $found"
    echo "   $what: none of its secrets passes"
}
seen() {
    local what=$1 found
    shift
    found="$(search "$@" | tr '\n' ' ')" || fail "$what: $found"
    [ -n "$found" ] || fail "$what: without wrap, none of these is found: $*"
    echo "   $what: without wrap, in the recording are: $found"
}

wrap="wrap,key=null:"
printf 'a secret of a program' >secret

# --- tpm2-openssl: keys with a password, and data that the TPM decrypts

printf 'password-of-the-key' >key-password
head -c 40 /dev/urandom >decrypts-to
use_openssl() {
    export TPM2OPENSSL_TCTI="$tpm"
    local providers=(-provider tpm2 -provider default) password
    password="$(cat key-password)"
    ok "$1: a key with a password" openssl genpkey "${providers[@]}" -algorithm RSA \
        -pkeyopt bits:2048 -pkeyopt "user-auth:$password" -out key.pem
    ok "$1: its public part" openssl pkey "${providers[@]}" -in key.pem -passin "pass:$password" \
        -pubout -out public.pem
    ok "$1: OpenSSL alone encrypts" openssl pkeyutl -encrypt -pubin -inkey public.pem \
        -in decrypts-to -out encrypted
    ok "$1: the TPM decrypts" openssl pkeyutl "${providers[@]}" -decrypt -inkey key.pem \
        -passin "pass:$password" -in encrypted -out decrypted
    same "$1: it is what was encrypted" decrypted decrypts-to
    ok "$1: random numbers" openssl rand "${providers[@]}" -propquery '?provider=tpm2' -out random 32
}
recorded_tpm "$wrap"
use_openssl tpm2-openssl
hidden tpm2-openssl key-password decrypts-to random
recorded_tpm ""
use_openssl "tpm2-openssl, bare"
seen tpm2-openssl key-password decrypts-to

# --- clevis: the key that it seals encrypts the secret

use_clevis() {
    export TPM2TOOLS_TCTI="$tpm"
    encrypt() { clevis encrypt tpm2 '{"pcr_bank":"sha256","pcr_ids":"16"}' <secret >encrypted; }
    decrypt() { clevis decrypt <encrypted >decrypted; }
    ok "$1: encrypts" encrypt
    ok "$1: decrypts" decrypt
    same "$1: it is the secret" decrypted secret
    # The key is the output of tpm2_unseal for clevis.
    python3 - encrypted parts <<'END'
import base64, json, os, sys

token, parts = sys.argv[1:]
header = open(token).read().split(".")[0]
pin = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["clevis"]["tpm2"]
os.makedirs(parts, exist_ok=True)
for part in ("jwk_pub", "jwk_priv"):
    text = pin[part]
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    open(f"{parts}/{part}", "wb").write(data)
END
    rm -f primary.ctx key.ctx
    ok "$1: the key of its parent" tpm2_createprimary -Q -C o -g sha256 -G ecc -c primary.ctx
    ok "$1: the sealed key is loaded" tpm2_load -Q -C primary.ctx -u parts/jwk_pub \
        -r parts/jwk_priv -c key.ctx
    ok "$1: and told" tpm2_unseal -c key.ctx -p pcr:sha256:16 -o jwk
    python3 -c 'import json; print(json.load(open("jwk"))["k"], end="")' >jwk-key
}
recorded_tpm "$wrap"
use_clevis clevis
hidden clevis secret jwk jwk-key
recorded_tpm ""
use_clevis "clevis, bare"
seen clevis jwk jwk-key

# --- systemd: a credential, and the key of a volume. Its own session is salted, on
# a key that nobody checked; what it leaves plain is the layer's.

printf passphrase >passphrase
export PASSWORD=passphrase
recorded_tpm "$wrap"
ok "systemd: a LUKS volume" eval 'truncate -s 20M volume && cryptsetup luksFormat --batch-mode \
    --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 volume passphrase'
cc -Wall -Wextra -Werror -shared -fPIC -o try.so "$here/try-passphrase.c"
# A comma ends an option, unless a backslash is before it.
unlock() {
    TRY_PASSPHRASE_FILE="$work/volume-key" LD_PRELOAD="$work/try.so" timeout 60 \
        /usr/lib/systemd/systemd-cryptsetup attach volume volume - "tpm2-device=${1//,/\\,},headless=1"
}
ok "systemd: systemd-cryptenroll seals a key" \
    systemd-cryptenroll "--tpm2-device=$tpm" --tpm2-pcrs=16 volume
ok "systemd: systemd-cryptsetup unseals it" unlock "$tpm"
says "systemd: it opens the volume" .out "opens key slot 1"
ok "systemd: systemd-creds encrypts" systemd-creds encrypt --with-key=tpm2 \
    "--tpm2-device=$tpm" --tpm2-pcrs=16 --name=it secret credential
ok "systemd: systemd-creds decrypts" \
    systemd-creds decrypt "--tpm2-device=$tpm" --name=it credential decrypted
same "systemd: it is the secret" decrypted secret
python3 -c 'import base64; open("volume-key.raw", "wb").write(base64.b64decode(open("volume-key").read()))'
hidden systemd secret volume-key volume-key.raw

# --- FAPI, by the tools tss2_*: sealed data, and data in NV

fapi_config() {
    cat >conf.json <<END
{
    "profile_name": "P_ECCP256SHA256",
    "profile_dir": "/etc/tpm2-tss/fapi-profiles/",
    "user_dir": "$work/fapi/user",
    "system_dir": "$work/fapi/system",
    "log_dir": "$work/fapi/log",
    "tcti": "$tpm",
    "ek_cert_less": "yes",
    "system_pcrs": []
}
END
}
export TSS2_FAPICONF="$work/conf.json"
printf 'kept in the TPM by FAPI' >value
use_fapi() {
    rm -rf fapi
    mkdir -p fapi/user fapi/system fapi/log
    fapi_config
    ok "$1: provisioned" tss2_provision
    ok "$1: a secret is sealed" tss2_createseal -p HS/SRK/seal -t noda -a "" -i secret
    ok "$1: an NV index" tss2_createnv -p /nv/Owner/value -t noda -s 23 -a ""
    ok "$1: written" tss2_nvwrite -p /nv/Owner/value -i value
    ok "$1: read" tss2_nvread -p /nv/Owner/value -o read -f
    same "$1: is what was written" read value
    ok "$1: random numbers" tss2_getrandom -n 32 -o random -f
}
recorded_tpm "$wrap"
use_fapi FAPI
hidden FAPI secret value random
# What FAPI unseals passes in the clear: its own salted session authorizes that, does
# not encrypt it, and allows no other session to. strict=1 refuses it.
tpm="${tpm/key=null/key=null,strict=1}"
fapi_config
refused "FAPI: strict=1 does not let it unseal" "leaves some of it in the clear" \
    tss2_unseal -p HS/SRK/seal -o unsealed -f
hidden "FAPI, strict=1" secret
tpm="${tpm/,strict=1/}"
fapi_config
ok "FAPI: unsealed without strict=1" tss2_unseal -p HS/SRK/seal -o unsealed -f
says "FAPI: it is told that this passes in the clear" .out "leaves some of it in the clear"
same "FAPI: it is the secret" unsealed secret
recorded_tpm ""
use_fapi "FAPI, bare"
ok "FAPI, bare: unsealed" tss2_unseal -p HS/SRK/seal -o unsealed -f
seen FAPI secret value random
