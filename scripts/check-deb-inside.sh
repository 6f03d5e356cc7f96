#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The part of check-deb.sh that runs inside the new Debian, as root: /srv/tests
# has the packages and debian/tests.
set -eu
cd /srv/tests
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

quietly() {
    "$@" >/tmp/log 2>&1 </dev/null || {
        cat /tmp/log
        echo "check-deb: FAILED in the new Debian: $*"
        exit 1
    }
}

# Prints all files, except those that the running system writes.
listing() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /srv \
        -o -path /var/cache -o -path /var/log -o -path /var/lib/apt \
        -o -path '/var/lib/dpkg/*-old' \) -prune -o -print | sort
}

owned="libtss2-tcti-rusttcti-dev libtss2-tcti-rusttcti0"
# By path: apt installs their dependencies. Then the packages that debian/tests
# need.
quietly apt-get install -y --no-install-recommends ./*.deb
quietly apt-get install -y --no-install-recommends gcc libc6-dev libtpms0 pkgconf tpm2-tools

./getrandom
./compile

# shellcheck disable=SC2086 # words are wanted
for package in $owned; do dpkg -L "$package"; done | sort -u >/tmp/files
# shellcheck disable=SC2086 # words are wanted
quietly apt-get purge -y $owned
while read -r path; do
    # The remaining folders must belong to other packages: /usr/lib and others.
    if [ -e "$path" ] || [ -L "$path" ]; then
        dpkg -S "$path" >/dev/null 2>&1 || [ "$path" = /. ] || {
            echo "check-deb: FAILED: $path is left"
            exit 1
        }
    fi
done </tmp/files
left="$(find / -xdev \( -path /proc -o -path /srv -o -path /var/cache \) -prune -o -name '*rusttcti*' -print)"
[ -z "$left" ] || {
    echo "check-deb: FAILED: left are $left"
    exit 1
}
if dpkg-query -W '*rusttcti*' 2>/dev/null | grep -q .; then
    echo "check-deb: FAILED: dpkg still knows the packages"
    exit 1
fi
# The linker's cache has forgotten it.
if ldconfig -p | grep -q rusttcti; then
    echo "check-deb: FAILED: it is still in ld.so.cache"
    exit 1
fi

# Once more, with all that they depend on there: the same files before and after.
listing >/tmp/before
quietly apt-get install -y --no-install-recommends ./*.deb
# shellcheck disable=SC2086 # words are wanted
quietly apt-get purge -y $owned
listing >/tmp/after
diff -u /tmp/before /tmp/after || {
    echo "check-deb: FAILED: not the same files as before"
    exit 1
}
