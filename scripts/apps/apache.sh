#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Apache's mod_ssl with its key in the TPM: a server in one process, and one
# whose forked workers inherit the TPM's context.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

user=()
if [ "$(id -u)" = 0 ]; then
    # Apache serves as nobody, and the TPM's file is then nobody's.
    user=("User nobody" "Group nogroup")
    chmod 711 "$work"
fi

openssl_config

mkdir pages
echo "a page" >pages/index.html
chmod 755 pages
modules=/usr/lib/apache2/modules

# Apache on the TPM $tpm, with a key made there; $1: -X, or -DFOREGROUND.
server() {
    export TPM2OPENSSL_TCTI="$tpm"
    openssl genpkey -provider tpm2 -provider default -algorithm RSA -out key.pem 2>.out ||
        fail "a key" .out
    openssl req -provider tpm2 -provider default -x509 -days 2 -key key.pem -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -out crt.pem 2>.out || fail "a certificate" .out
    if [ "$(id -u)" = 0 ]; then chown -R nobody "$work"/tpm.*; fi
    port="$(free_port)"
    cat >httpd.conf <<END
ServerRoot $work
ServerName localhost
Listen 127.0.0.1:$port
PidFile $work/httpd.pid
DefaultRuntimeDir $work
Mutex file:$work
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule ssl_module $modules/mod_ssl.so
ErrorLog $work/error.log
DocumentRoot $work/pages
$(printf '%s\n' "${user[@]}")
StartServers 1
SSLEngine on
SSLCertificateFile $work/crt.pem
SSLCertificateKeyFile $work/key.pem
SSLSessionCache none
END
    : >error.log
    # At its end it ends its process group: one of its own.
    start apache.log setsid env OPENSSL_CONF="$work/openssl.cnf" apache2 "$1" -f "$work/httpd.conf"
    await "a listening Apache" listens "$port"
}

get() {
    curl --silent --show-error --max-time 20 --cacert crt.pem "https://localhost:$port/index.html"
}

for kind in libtpms swtpm; do
    new_tpm "$kind"
    server -X
    ok "$kind: apache2 -X serves a page with a key in the TPM" get
    same "$kind: it is the page" .out pages/index.html
    ok "$kind: and again" get
    stop "$daemon"
done

new_tpm libtpms
server -DFOREGROUND
refused "a forked worker cannot use the TPM that its parent opened" "internal error" get
says "and it says why" error.log "opened before fork() and belongs to the parent"
stop "$daemon"
