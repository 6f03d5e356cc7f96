#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the packages, installs them, uses them as debian/tests do, removes
# them, and checks that nothing is left. check-deb.sh [full] in a new, minimal
# Debian 12, by apt (root, network) check-deb.sh quick in an empty folder, by
# dpkg alone RUSTTCTI_DEBS=FOLDER takes packages that make deb has built.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

how="${1:-full}"
root=()
case "$how" in
    full)
        need_root "a new Debian is made and entered"
        mirror="$(debian_mirror)"
        ;;
    quick) if [ "$(id -u)" != 0 ]; then root=(fakeroot); fi ;;
    *) usage ;;
esac
scripts/setup.sh deb
work_in
chmod 755 "$work"
debs="${RUSTTCTI_DEBS:-$work/deb}"
if [ -z "${RUSTTCTI_DEBS:-}" ]; then
    scripts/deb.sh "$debs"
fi
packages=("$debs"/libtss2-tcti-rusttcti0_*.deb "$debs"/libtss2-tcti-rusttcti-dev_*.deb)

# dpkg's database in an empty folder. The dependencies of the packages are
# outside of it.
quick() {
    local to="$work/root" lib
    mkdir -p "$to/var/lib/dpkg/"{info,updates,triggers}
    touch "$to/var/lib/dpkg/"{status,available}
    in_root() {
        quietly "$work/dpkg.out" "${root[@]}" dpkg --root="$to" --force-depends --force-not-root \
            --force-script-chrootless --log="$work/dpkg.log" "$@"
    }
    listing() {
        (cd "$to" && find . -path ./var/lib/dpkg -prune -o -print | sort)
    }
    listing >"$work/before"
    in_root --install "${packages[@]}"
    listing >"$work/installed"
    grep -q '/libtss2-tcti-rusttcti.so.0$' "$work/installed"

    lib="$to/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)"
    (
        export LD_LIBRARY_PATH="$lib" PKG_CONFIG_PATH="$lib/pkgconfig"
        export PKG_CONFIG_SYSROOT_DIR="$to"
        export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
        export AUTOPKGTEST_TMP="$work/tmp"
        mkdir "$AUTOPKGTEST_TMP"
        debian/tests/getrandom
        debian/tests/compile
    )
    in_root --purge libtss2-tcti-rusttcti-dev libtss2-tcti-rusttcti0
    listing | diff -u "$work/before" -
    [ -z "$(find "$to" -name '*rusttcti*')" ]
    if grep -q rusttcti "$to/var/lib/dpkg/status"; then fail "dpkg still knows the packages"; fi
}

# mmdebstrap makes the system, runs the hook in it, and removes all of it.
full() {
    cp -r debian/tests "$work/tests"
    cp "${packages[@]}" "$work/tests/"
    cp scripts/check-deb-inside.sh "$work/tests/"
    # A folder that dpkg and apt of the new system may read.
    chmod -R go+rX "$work/tests"
    mmdebstrap --quiet --variant=apt --format=null \
        --customize-hook="copy-in '$work/tests' /srv" \
        --customize-hook='chroot "$1" sh /srv/tests/check-deb-inside.sh' \
        bookworm /dev/null "$mirror" </dev/null
}

"$how"
echo "check-deb: installed, used, removed; nothing left ($how)"
