# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# Functions for all scripts. A script begins with
#
#   . "$(dirname "$0")/lib.sh"
#
# and is then in the project's folder, whatever folder it was called from.
set -euo pipefail

# The script's name in messages.
me="$(basename "$0" .sh)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Debian has ldconfig, tpm2-abrmd and others there.
export PATH="$PATH:/usr/sbin:/sbin"

# --- Saying

# fail WHAT [LOG]: prints what failed and the end of a log, and ends the script.
fail() {
    if [ $# -gt 1 ]; then tail -n 60 "$2" | sed 's/^/      | /' >&2; fi
    echo "$me: FAILED: $1" >&2
    exit 1
}

# usage: ends the script with the lines of its head that show how it is called.
usage() {
    sed -n "s/^#   \($me.sh\)/usage: \1/p" "$0" >&2
    exit 2
}

# Neither `step` nor `quietly` asks for the status by `||` or `if`: in what stands
# before these, `set -e` does not hold, and a function would go on after a failure.

# step NAME COMMAND...: prints the name of the step, its result and its
# duration.
step() {
    local name=$1 began=$SECONDS status
    shift
    echo "== $name"
    "$@"
    status=$?
    if [ "$status" = 0 ]; then
        echo "-- $name: passed ($((SECONDS - began)) s)"
    else
        echo "-- $name: FAILED ($((SECONDS - began)) s)"
    fi
    return "$status"
}

# quietly LOG COMMAND...: keeps what a command, or a function of the script, prints
# in a file, which is shown if it fails.
quietly() {
    local status
    unfinished=$1
    shift
    ("$@") >"$unfinished" 2>&1 </dev/null
    status=$?
    if [ "$status" != 0 ]; then show_unfinished; fi
    unfinished=
    return "$status"
}

show_unfinished() {
    if [ -n "$unfinished" ]; then
        tail -n 200 "$unfinished" >&2
        echo "$me: FAILED: see above, the end of $unfinished" >&2
    fi
}

# --- Folders that are gone at the end

unfinished='' remove=''
at_end() {
    show_unfinished
    if declare -F tidy >/dev/null; then tidy; fi
    rm -rf "$remove"
}
trap at_end EXIT

# work_in [FOLDER]: sets $work to this folder or, without one, to a new one that is
# removed at the end. What else must be ended then is in the function `tidy` of the
# script, if it has one.
work_in() {
    if [ -n "${1:-}" ]; then
        mkdir -p "$1"
        work="$(realpath "$1")"
    else
        work="$(mktemp -d)"
        remove=$work
    fi
}

# --- The project

# manifest KEY: prints the first value of this key in Cargo.toml.
manifest() {
    sed -n "s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml | head -n 1
}

version() {
    manifest version
}

# target_folder NAME: prints the absolute path of a folder in cargo's target folder.
target_folder() {
    realpath -m "${CARGO_TARGET_DIR:-target}/$1"
}

# copy_tree FOLDER: copies the sources, as they are now: what git knows or would
# add, and without git all files but those that were built.
copy_tree() {
    mkdir -p "$1"
    if [ -e .git ]; then
        git ls-files -z --cached --others --exclude-standard --deduplicate |
            while IFS= read -r -d '' file; do
                # Git lists a file that was removed, too, until that is committed.
                if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
            done | tar -c --null --files-from=- | tar -x -C "$1"
    else
        tar -c --exclude=./target --exclude='./examples/*/target' . | tar -x -C "$1"
    fi
}

# test_program TEST [OPTION...]: builds a program of tests/, or of a crate's by the
# option -p CRATE, and prints its path.
test_program() {
    cargo test --locked --no-run --test "$@" --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1 | grep . ||
        fail "the tests $1 do not build"
}

# --- The module, installed

# install_into FOLDER [VARIABLE=VALUE...]: builds the module and installs it there
# as a distribution does.
install_into() {
    local to=$1
    shift
    make --no-print-directory -s install DESTDIR="$to" PREFIX=/usr LIBDIR=/usr/lib "$@"
}

# stage_module: builds the module and installs it into $work/stage; the folder of its
# library is RUSTTCTI_MODULE_DIR then, where tests look for it. A module that this
# variable names already is used as it is.
stage_module() {
    if [ -z "${RUSTTCTI_MODULE_DIR:-}" ]; then
        install_into "$work/stage"
        export RUSTTCTI_MODULE_DIR="$work/stage/usr/lib"
    fi
}

# --- Rights and packages

# need_root WHY: ends the script unless root runs it.
need_root() {
    [ "$(id -u)" = 0 ] || fail "$1: run it as root (sudo), or in a container"
}

# as_root COMMAND...: runs a command as root; fails where neither the user nor sudo
# without a password can.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# missing_packages PACKAGE...: prints those Debian packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

# install_packages PACKAGE...: installs those Debian packages that are missing.
install_packages() {
    local missing log
    mapfile -t missing < <(missing_packages "$@")
    if [ "${#missing[@]}" = 0 ]; then return 0; fi
    if ! may_be_root; then
        echo "$me: these packages are missing, and only root may install them:" >&2
        echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "$me: installing ${missing[*]}"
    log="$(mktemp)"
    if ! {
        apt_get "$log" update &&
            apt_get "$log" install -y --no-install-recommends "${missing[@]}"
    }; then
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get failed; needed are: ${missing[*]}"
    fi
    rm -f "$log"
    mapfile -t missing < <(missing_packages "${missing[@]}")
    [ "${#missing[@]}" = 0 ] || fail "still missing after installation: ${missing[*]}"
}

# apt_get LOG ARGUMENT...: apt-get, as root. Where another program holds a lock of
# apt's or dpkg's, as unattended upgrades do, this says so and waits,
# RUSTTCTI_APT_WAIT seconds at most (900).
apt_get() {
    local log=$1 end=$((SECONDS + ${RUSTTCTI_APT_WAIT:-900})) busy told=
    shift
    # apt itself waits for dpkg's locks alone, and not for that of its lists.
    until as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
        apt-get "$@" -o DPkg::Lock::Timeout=2 </dev/null >"$log" 2>&1; do
        busy="$(grep -o -m 1 'Could not get lock .*' "$log" || true)"
        if [ -z "$busy" ] || [ "$SECONDS" -ge "$end" ]; then return 1; fi
        if [ -z "$told" ]; then
            echo "$me: apt is busy, and this waits until it is free, $((end - SECONDS)) s at most. $busy"
            told=1
        fi
        sleep 1
    done
}

# debian_mirror: prints where packages of Debian 12 (bookworm) come from:
# $DEBIAN_MIRROR, else what this system's apt has.
debian_mirror() {
    local mirror="${DEBIAN_MIRROR:-}"
    if [ -z "$mirror" ]; then
        # shellcheck disable=SC2016 # apt's own
        mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
            'Codename: bookworm' | head -n 1)"
    fi
    [ -n "$mirror" ] ||
        fail "apt has no list of Debian 12 (bookworm): DEBIAN_MIRROR=URL names a mirror of it"
    echo "$mirror"
}

# --- Peers

# listens PORT: whether a local program takes connections at this TCP port.
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# free_port: prints a TCP port that is free, and its neighbour too, below those that
# the kernel hands out.
free_port() {
    local port
    for _ in {1..20}; do
        port=$((RANDOM % 10000 * 2 + 10000))
        if ! listens "$port" && ! listens $((port + 1)); then
            echo "$port"
            return
        fi
    done
    fail "no TCP port is free"
}

# start_swtpm tcp|unix FOLDER LOG OPTION...: starts a swtpm with its state, and its
# socket, in the folder. Sets $peer to its process and $conf to its CONF.
# shellcheck disable=SC2034 # a script's
start_swtpm() {
    local kind=$1 folder=$2 log=$3 port ends
    shift 3
    for _ in {1..10}; do
        port="$(free_port)"
        case $kind in
            tcp)
                conf="host=127.0.0.1,port=$port"
                ends=("type=tcp,port=$port" "type=tcp,port=$((port + 1))")
                ;;
            unix)
                conf="path=$folder/socket"
                ends=("type=unixio,path=$folder/socket" "type=unixio,path=$folder/socket.ctrl")
                ;;
        esac
        swtpm socket --tpm2 --tpmstate "dir=$folder" --server "${ends[0]}" --ctrl "${ends[1]}" \
            "$@" >"$log" 2>&1 </dev/null &
        peer=$!
        # Another program may have taken the port: then swtpm ends.
        for _ in {1..500}; do
            if ! kill -0 "$peer" 2>/dev/null; then break; fi
            # The control channel, which swtpm opens last.
            if [ -S "$folder/socket.ctrl" ] || listens $((port + 1)); then return 0; fi
            sleep 0.02
        done
        end_process "$peer"
    done
    echo "$me: swtpm does not start: $(cat "$log")" >&2
    return 1
}

# end_process PID: ends a child of the script and waits until it is gone: swtpm
# writes its state at the end.
end_process() {
    kill "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
