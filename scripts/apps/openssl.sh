#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-openssl: requests, certificates, and TLS servers whose key is in the TPM. Over
# the layer rm, hashes, ciphers and random numbers are from the TPM as well, and
# children are forked.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

new_tpm libtpms
bare="${tpm#rusttcti:}"
export TPM2OPENSSL_TCTI="$tpm"
providers=(-provider tpm2 -provider default)
subject=(-subj /CN=localhost -addext subjectAltName=DNS:localhost)

for kind in rsa ec; do
    case $kind in
        rsa) algorithm=(-algorithm RSA -pkeyopt bits:2048) ;;
        ec) algorithm=(-algorithm EC -pkeyopt group:P-256) ;;
    esac
    ok "$kind: a key is made in the TPM" \
        openssl genpkey "${providers[@]}" "${algorithm[@]}" -out "$kind.pem"
    says "$kind: its file is for the TPM alone" "$kind.pem" "BEGIN TSS2 PRIVATE KEY"
    ok "$kind: it signs a request" \
        openssl req "${providers[@]}" -new -key "$kind.pem" "${subject[@]}" -out "$kind.csr"
    ok "$kind: OpenSSL alone verifies the request" openssl req -in "$kind.csr" -verify -noout
    ok "$kind: it signs a certificate" openssl req "${providers[@]}" -x509 -days 2 \
        -key "$kind.pem" "${subject[@]}" -out "$kind.crt"
    ok "$kind: OpenSSL alone verifies the certificate" \
        openssl verify -CAfile "$kind.crt" "$kind.crt"
done

openssl_config

# A connection of plain s_client to a server with a key in the TPM.
connection() {
    local kind=$1 version=$2 name="${3:-}$1 $2" port
    start server.log env OPENSSL_CONF=openssl.cnf openssl s_server -accept 127.0.0.1:0 \
        -cert "$kind.crt" -key "$kind.pem" "-$version" -rev -naccept 1
    local server=$daemon
    await "$name: a listening server" grep -q '^ACCEPT .*:' server.log
    port="$(sed -n 's/^ACCEPT .*://p' server.log)"
    rm -f to from
    mkfifo to
    timeout 30 openssl s_client -connect "127.0.0.1:$port" -CAfile "$kind.crt" -brief \
        -verify_return_error -servername localhost -verify_hostname localhost <to >from 2>client.log &
    local client=$!
    exec 4>to
    echo "to the server and back" >&4
    await "$name: an answer" grep -q "kcab dna revres eht ot" from
    exec 4>&-
    wait "$client" || fail "$name: s_client failed" client.log
    says "$name: the server's certificate is verified" client.log "Verification: OK"
    case $version in
        tls1_2) says "$name: data went both ways" client.log "Protocol version: TLSv1.2" ;;
        tls1_3) says "$name: data went both ways" client.log "Protocol version: TLSv1.3" ;;
    esac
    await "$name: the server's end" eval "! kill -0 $server"
}
connection rsa tls1_2
connection rsa tls1_3
# Not ec tls1_2: the provider of Debian 12 (1.1.1) does not tell OpenSSL how an
# EC key's points are encoded, and TLS 1.2 finds no shared cipher.
connection ec tls1_3

# A connection takes copies of hashes under way, more than three of them.
openssl_config "?provider=tpm2"
for layers in rm: wrap,key=null:rm:; do
    export TPM2OPENSSL_TCTI="rusttcti:$layers$bare"
    connection rsa tls1_2 "$layers "
    connection rsa tls1_3 "$layers "
    connection ec tls1_3 "$layers "
done

cc -Wall -Wextra -Werror -o forked-random "$here/forked-random.c" -lcrypto
for layers in "" rm,fork=1:; do
    new_tpm "${layers}swtpm"
    ok "${layers}swtpm: forked children have random numbers" env TPM2OPENSSL_TCTI="$tpm" ./forked-random
    says "${layers}swtpm: all of them" .out "^10 of 10 children were served$"
done
new_tpm rm:swtpm
refused "rm:swtpm: without fork=1, they have none, and it is said what is missing" "rm,fork=1:" \
    env TPM2OPENSSL_TCTI="$tpm" ./forked-random
