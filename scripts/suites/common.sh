# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What check-tss.sh and check-suites.sh share. Both work in the folder $work.
# shellcheck disable=SC2034,SC2154

me="$(basename "$0" .sh)"

# Installs those of the Debian packages that are missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
    if [ "$(id -u)" != 0 ]; then
        echo "$me: only root may install what is missing:" >&2
        echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "== installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
        </dev/null >/dev/null
}

# get_source PACKAGE "SUITE...": the source package in $work/PACKAGE, from the
# mirror that this machine installs from.
get_source() {
    local package=$1 suites=$2 suite apt
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    apt=(-o "Dir::Etc::sourcelist=$work/apt/list.sources" -o "Dir::Etc::sourceparts=-"
        -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
        -o "APT::Sandbox::User=root")
    for suite in configured $suites; do
        source_list "$suite" >"$work/apt/list.sources"
        apt-get "${apt[@]}" update -qq || continue
        if (cd "$work" && apt-get "${apt[@]}" source -qq --download-only "$package"); then
            (cd "$work" && dpkg-source --no-check -x "$(newest_dsc "$package")" "$package" >/dev/null)
            return 0
        fi
        rm -f "$work/$package"_*
        echo "$me: no source of $package in the suites: $suite" >&2
    done
    echo "$me: it is in none of these Debian suites; others can be named (see the script's head)" >&2
    return 1
}

newest_dsc() {
    # shellcheck disable=SC2012 # names of Debian source packages are plain
    ls -t "$1"_*.dsc | head -n 1
}

# The machine's own list of sources, for source packages, and of another suite.
source_list() {
    local files=(/etc/apt/sources.list.d/*.sources)
    if [ ! -e "${files[0]}" ]; then
        echo "$me: there is no /etc/apt/sources.list.d/*.sources to take the mirror from" >&2
        return 1
    fi
    awk -v suite="$1" '
        BEGIN { RS = ""; FS = "\n" }
        /Types:.*deb/ && !/Suites:[^\n]*-security/ {
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^Types:/) $i = "Types: deb-src"
                if ($i ~ /^Suites:/ && suite != "configured") $i = "Suites: " suite
                print $i
            }
            print ""
        }' "${files[@]}"
}

# work_in FOLDER: sets $work to it or, without a name, to one that is gone at
# the end; $module is where build_module puts the module.
work_in() {
    if [ -n "$1" ]; then
        mkdir -p "$1"
        work="$(cd "$1" && pwd)"
    else
        work="$(mktemp -d)"
        trap 'rm -rf "$work"' EXIT
    fi
    module="$work/module/usr/lib"
    export work module
}

build_module() {
    step "building this module" module make --no-print-directory install \
        DESTDIR="$work/module" PREFIX=/usr LIBDIR=/usr/lib
}

# start_swtpm tcp|unix FOLDER LOG OPTION...: a swtpm whose state, and socket, is
# in the folder. Sets $peer to its process and $conf to what a TCTI wants.
start_swtpm() {
    local kind=$1 folder=$2 log=$3 port place
    shift 3
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        # Below the ports that the kernel hands out.
        port=$((RANDOM % 10000 * 2 + 10000))
        place=("type=tcp,port=$port" "type=tcp,port=$((port + 1))")
        conf="host=127.0.0.1,port=$port"
        if [ "$kind" = unix ]; then
            place=("type=unixio,path=$folder/socket" "type=unixio,path=$folder/socket.ctrl")
            conf="path=$folder/socket"
        fi
        swtpm socket --tpm2 --server "${place[0]}" --ctrl "${place[1]}" "$@" \
            --tpmstate "dir=$folder" >"$log" 2>&1 &
        peer=$!
        for _ in $(seq 500); do
            if ! kill -0 "$peer" 2>/dev/null; then break; fi
            if [ -S "$folder/socket" ]; then return 0; fi
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 0; fi
            sleep 0.02
        done
        kill "$peer" 2>/dev/null || true
        peer=""
    done
    echo "$me: swtpm does not start: $(cat "$log")" >&2
    return 1
}

# step WHAT LOG COMMAND...: with its output in a log, the end of which is shown
# where it fails.
step() {
    local what=$1 log="$work/$2.log"
    shift 2
    echo "== $what"
    if ! ("$@") >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "$me: failed: $what (all of it: $log)" >&2
        exit 1
    fi
}
