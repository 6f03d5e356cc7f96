#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds twice, in two folders, with another HOME, time zone, language, umask
# and number of jobs, and checks that the bytes are the same: the module of
# `make build`, and the packages of `make deb`.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh deb
work_in
unset RUSTFLAGS DEB_BUILD_OPTIONS SOURCE_DATE_EPOCH CARGO_BUILD_JOBS

# A separate home, with links to the same compiler and crates.
home="$work/another/home/of/somebody-else"
mkdir -p "$home/.cargo" "$work/one" "$work/another/much/longer/path"
for part in "${CARGO_HOME:-$HOME/.cargo}"/{registry,config.toml}; do
    if [ -e "$part" ]; then
        ln -s "$part" "$home/.cargo/"
    fi
done
otherwise() (
    umask 077
    export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
    export HOME="$home" CARGO_HOME="$home/.cargo" TMPDIR="$work/another/much/longer/path"
    export TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 LANGUAGE=de CARGO_BUILD_JOBS=1
    export DEB_BUILD_OPTIONS=parallel=1 RUSTTCTI_LINTIAN=no
    "$@"
)
one() (
    umask 022
    export TMPDIR="$work/one" TZ=UTC LC_ALL=C RUSTTCTI_LINTIAN=no
    "$@"
)

same() {
    if ! cmp "$1" "$2"; then
        echo "check-reproducible: two builds of $(basename "$1") differ" >&2
        return 1
    fi
    sha256sum "$1" | sed "s|$work/||"
}

# One is a copy of the other, so that edits meanwhile make no difference.
here="$work/one/rusttcti"
there="$work/another/much/longer/path/somewhere"
one copy_tree "$here"
(cd "$here" && otherwise copy_tree "$there")
unset CARGO_TARGET_DIR
one make --no-print-directory -s -C "$here" build
otherwise make --no-print-directory -s -C "$there" build
built=target/release/libtss2_tcti_rusttcti.so
same "$here/$built" "$there/$built"

one "$here/scripts/deb.sh" "$work/debs" >/dev/null
otherwise "$there/scripts/deb.sh" "$work/debs-otherwise" >/dev/null
failed=0
for package in "$work"/debs/*.deb; do
    other="$work/debs-otherwise/$(basename "$package")"
    if ! same "$package" "$other"; then
        failed=1
        dpkg-deb -R "$package" "$work/unpacked"
        dpkg-deb -R "$other" "$work/unpacked-otherwise"
        diff -r "$work/unpacked" "$work/unpacked-otherwise" >&2 || true
        rm -rf "$work/unpacked" "$work/unpacked-otherwise"
    fi
done
[ "$failed" = 0 ] || fail "see above"
echo "check-reproducible: both builds gave these bytes"
