#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds the packages, installs them, uses them as debian/tests do, removes
# them, and finds nothing left.
#   check-deb.sh         in a new, minimal Debian 12, by apt (root, network)
#   check-deb.sh quick   in an empty folder, by dpkg alone
# RUSTTCTI_DEBS=FOLDER takes packages that make deb has built.
set -euo pipefail
cd "$(dirname "$0")/.."
how="${1:-full}"
mirror="$(scripts/debian-mirror.sh)"

# dpkg wants ldconfig.
export PATH="$PATH:/usr/sbin:/sbin"
root=()
if [ "$(id -u)" != 0 ]; then
    root=(fakeroot)
    if [ "$how" = full ]; then
        echo "check-deb: only root may make a new Debian: run it by sudo, or in a container" >&2
        exit 1
    fi
fi
scripts/setup.sh deb

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
debs="${RUSTTCTI_DEBS:-$work/deb}"
if [ -z "${RUSTTCTI_DEBS:-}" ]; then
    scripts/deb.sh "$debs"
fi
packages=("$debs"/libtss2-tcti-rusttcti0_*.deb "$debs"/libtss2-tcti-rusttcti-dev_*.deb)

# dpkg's own database in an empty folder; what the packages depend on is outside.
quick() {
    local to="$work/root" lib
    mkdir -p "$to/var/lib/dpkg/"{info,updates,triggers}
    touch "$to/var/lib/dpkg/"{status,available}
    in_root() {
        "${root[@]}" dpkg --root="$to" --force-depends --force-not-root --force-script-chrootless \
            --log="$work/dpkg.log" "$@" >"$work/dpkg.out" 2>&1 || {
            cat "$work/dpkg.out" >&2
            return 1
        }
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
    if grep -q rusttcti "$to/var/lib/dpkg/status"; then
        echo "check-deb: dpkg still knows the packages" >&2
        return 1
    fi
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

case "$how" in
    full | quick) "$how" ;;
    *)
        echo "usage: $0 [full|quick]" >&2
        exit 2
        ;;
esac
echo "check-deb: installed, used, removed; nothing left ($how)"
