#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Checks that `cargo cinstall` (cargo-c) installs the same files as `make
# install`.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

cargo cinstall --version >/dev/null 2>&1 || fail "there is no cargo-c (cargo install cargo-c)"

work_in
install_into "$work/make"
cargo cinstall --locked --release --library-type=cdylib \
    --destdir="$work/cargo-c" --prefix=/usr --libdir=/usr/lib

# Prints the installed files, and the contents that do not depend on the build.
describe() {
    local root=$1 library
    cd "$root"
    echo "files:"
    find . ! -type d | sort
    echo "libraries that the links lead to:"
    for library in usr/lib/libtss2-tcti-rusttcti.so{,.0}; do
        basename "$(readlink -f "$library")"
    done
    library=usr/lib/libtss2-tcti-rusttcti.so
    echo "soname: $(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')"
    echo "symbols:"
    nm -D --defined-only --format=posix "$library" | cut -d ' ' -f 1
    echo "header: $(sha256sum <usr/include/tss2/tss2_tcti_rusttcti.h)"
    echo "manual:"
    find usr/share/man -type f -exec sha256sum {} + | sort -k 2
    echo "pkg-config:"
    local variable
    export PKG_CONFIG_PATH="$root/usr/lib/pkgconfig"
    export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
    for variable in --modversion --cflags --libs --print-requires-private; do
        echo "$variable: $(pkg-config "$variable" tss2-tcti-rusttcti | sed 's/ *$//')"
    done
}

(describe "$work/make") >"$work/make.txt"
(describe "$work/cargo-c") >"$work/cargo-c.txt"
diff -u "$work/make.txt" "$work/cargo-c.txt"
echo "check-cinstall: one and the same tree"
