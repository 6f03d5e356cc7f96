#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# nginx with its key in the TPM: the master loads the key by OpenSSL's provider, from
# a "TSS2 PRIVATE KEY" file, and its workers use it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

user=""
if [ "$(id -u)" = 0 ]; then
    # Workers serve as nobody.
    user="user nobody nogroup;"
    chmod 711 "$work"
fi

openssl_config

mkdir pages
echo "a page" >pages/index.html
chmod 755 pages

# nginx on the TPM $tpm, with a key made there; $1: off, to have one process do it all.
server() {
    export TPM2OPENSSL_TCTI="$tpm"
    server_key
    if [ "$(id -u)" = 0 ]; then chown -R nobody "$work"/tpm.*; fi
    port="$(free_port)"
    cat >nginx.conf <<END
daemon off;
master_process ${1:-on};
$user
worker_processes 4;
pid $work/nginx.pid;
error_log $work/error.log notice;
# nginx hands on only these.
env TPM2OPENSSL_TCTI;
env OPENSSL_CONF;
env LD_LIBRARY_PATH;
env RUSTTCTI_FSYNC;
events {
    worker_connections 64;
}
http {
    access_log off;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    server {
        listen 127.0.0.1:$port ssl;
        ssl_certificate $work/crt.pem;
        ssl_certificate_key $work/key.pem;
        root $work/pages;
    }
}
END
    : >error.log
    start nginx.log env OPENSSL_CONF="$work/openssl.cnf" nginx -e "$work/error.log" -c "$work/nginx.conf"
    await "a listening nginx" listens "$port"
}

get() {
    curl --silent --show-error --max-time 20 --cacert crt.pem "https://localhost:$port/index.html"
}

children() {
    cat "/proc/$daemon/task/$daemon/children"
}

gone() {
    local pid
    for pid in "$@"; do
        if [ -e "/proc/$pid" ]; then return 1; fi
    done
}

new_tpm libtpms
server off
ok "libtpms: one process serves a page with a key in the TPM" get
same "libtpms: it is the page" .out pages/index.html
stop "$daemon"

new_tpm libtpms
server
refused "a worker cannot use the embedded TPM that its master opened" "internal error" get
says "and it says why" error.log "opened before fork() and belongs to the parent"
stop "$daemon"

for layers in "" "rm,fork=1:" "wrap,key=null:rm,fork=1:"; do
    new_tpm swtpm
    tpm="rusttcti:$layers${tpm#rusttcti:}"
    server
    connections || fail "${layers}swtpm: 200 connections" .out
    echo "   ${layers}swtpm: workers serve 200 connections"

    # Reloads: the master loads the key again and frees the old one. On a bare TPM,
    # workers that still serve would lose the old key, so nothing is served meanwhile.
    old="$(children)"
    if [ -n "$layers" ]; then
        : >served
        (
            until [ "$(wc -l <served)" -ge 50 ]; do sleep 0.02; done
            kill -HUP "$daemon"
        ) &
        reload=$!
        connections || fail "${layers}swtpm: 200 connections while nginx reloads" .out
        wait "$reload"
        echo "   ${layers}swtpm: 200 connections are served while nginx reloads"
    else
        kill -HUP "$daemon"
    fi
    await "a reload" grep -q reconfiguring error.log
    # shellcheck disable=SC2086 # process ids
    await "the end of the old workers" gone $old
    connections || fail "${layers}swtpm: 200 connections after a reload" .out
    echo "   ${layers}swtpm: and the new workers serve 200"
    stop "$daemon"
done
