#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Apache's mod_ssl with its key in the TPM: a server in one process, and one
# whose forked workers use the TPM context that their master opened.
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

# Apache on the TPM $tpm, with a key made there; $1: -X, -DFOREGROUND, or -DX to
# have it detach as it does by default; $2: prefork or event.
server() {
    # A thread a worker with mpm_event: Debian's provider has no lock for two.
    local mpm=${2:-prefork}
    export TPM2OPENSSL_TCTI="$tpm"
    server_key
    if [ "$(id -u)" = 0 ]; then chown -R nobody "$work"/tpm.*; fi
    port="$(free_port)"
    cat >httpd.conf <<END
ServerRoot $work
ServerName localhost
Listen 127.0.0.1:$port
PidFile $work/httpd.pid
DefaultRuntimeDir $work
Mutex file:$work
LoadModule mpm_${mpm}_module $modules/mod_mpm_$mpm.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule ssl_module $modules/mod_ssl.so
ErrorLog $work/error.log
DocumentRoot $work/pages
$(printf '%s\n' "${user[@]}")
StartServers 2
$([ "$mpm" = prefork ] && printf '%s\n' "MaxSpareServers 8" "MaxRequestWorkers 8")
$([ "$mpm" = event ] && printf '%s\n' "ThreadsPerChild 1" "MaxRequestWorkers 8" "ServerLimit 8" "MinSpareThreads 2" "MaxSpareThreads 8")
MaxConnectionsPerChild 25
KeepAlive Off
SSLEngine on
SSLCertificateFile $work/crt.pem
SSLCertificateKeyFile $work/key.pem
SSLSessionCache none
END
    : >error.log
    # It runs in a separate process group, because it ends its group at its end.
    start apache.log setsid env OPENSSL_CONF="$work/openssl.cnf" apache2 "$1" -f "$work/httpd.conf"
    await "a listening Apache" listens "$port"
    if [ "$1" = -DX ]; then
        # It has detached: its master is another process.
        wait "$daemon"
        await "a process id" test -s httpd.pid
        daemon="$(cat httpd.pid)"
        daemons+=("$daemon")
    fi
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
refused "a forked worker cannot use the embedded TPM that its parent opened" "internal error" get
says "and it says why" error.log "opened before fork() and belongs to the parent"
stop "$daemon"

# 200 TLS connections over workers that are replaced every 25.
# A worker thread of mpm_event that ends leaves the connection that its process has
# accepted and queued, because Apache counts a connection only when a thread takes it
# up. The client sees a reset, also with a key in a file: it tries again.
for chain in "" "rm,fork=1:" "wrap,key=null:rm,fork=1:"; do
    for mpm in prefork event; do
        new_tpm swtpm
        tpm="rusttcti:$chain${tpm#rusttcti:}"
        # The first process forks and detaches.
        if [ "$mpm" = prefork ]; then server -DX "$mpm"; else server -DFOREGROUND "$mpm"; fi
        connections again || fail "$mpm, ${chain}swtpm: 200 connections" .out
        echo "   $mpm, ${chain}swtpm: forked workers serve 200 connections"
        stop "$daemon"
        await "its end" eval "! listens $port"
    done
done
