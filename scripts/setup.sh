#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs the Debian packages that are missing: `setup.sh demo` for the demo,
# `setup.sh check` for the tests as well, `setup.sh bench` for what make bench
# measures, `setup.sh deb` for packages, `setup.sh arch` for other processors.
# Says which where it may not.
set -euo pipefail

demo=(
    ca-certificates
    gcc
    libc6-dev
    libtpms0
    libtss2-dev
    pkg-config
    tpm2-tools
)
check=(
    "${demo[@]}"
    binutils
    dbus-bin
    dbus-daemon
    g++
    libtpm2-pkcs11-1
    libtss2-fapi1
    libtss2-tcti-cmd0
    libtss2-tcti-device0
    libtss2-tcti-mssim0
    libtss2-tcti-pcap0
    libtss2-tcti-swtpm0
    libtss2-tcti-tabrmd0
    man-db
    mandoc
    opensc
    openssh-client
    openssh-server
    python3-dev
    python3-venv
    shellcheck
    strace
    swtpm
    tpm2-abrmd
    tpm2-openssl
    tshark
    valgrind
)
vm=(
    "${demo[@]}"
    binutils
    busybox-static
    cpio
    qemu-system-x86
    swtpm
)
deb=(
    "${demo[@]}"
    binutils
    debhelper
    debian-archive-keyring
    dpkg-dev
    fakeroot
    lintian
    mmdebstrap
    pkgconf
    python3
    python3-rpm
    rpm
    rpmlint
    xz-utils
)
apps=(
    "${demo[@]}"
    apache2-bin
    clevis-luks
    clevis-tpm2
    cryptsetup-bin
    curl
    dbus-bin
    dbus-daemon
    libstrongswan-extra-plugins
    libstrongswan-standard-plugins
    libtpm2-pkcs11-1
    libtpm2-pkcs11-tools
    libtss2-tcti-tabrmd0
    opensc
    openssh-client
    openssl
    strongswan-pki
    swtpm
    systemd
    tpm2-abrmd
    tpm2-initramfs-tool
    tpm2-openssl
)
bench=(
    "${check[@]}"
    libtpms-dev
)
arch=(
    arch-test
    ca-certificates
    mmdebstrap
)

case "${1:-}" in
    demo) wanted=("${demo[@]}") ;;
    check) wanted=("${check[@]}") ;;
    vm) wanted=("${vm[@]}") ;;
    deb) wanted=("${deb[@]}") ;;
    apps) wanted=("${apps[@]}") ;;
    bench) wanted=("${bench[@]}") ;;
    arch) wanted=("${arch[@]}") ;;
    *)
        echo "usage: $0 demo|check|apps|vm|deb|bench|arch" >&2
        exit 2
        ;;
esac

missing_packages() {
    local package
    for package in "${wanted[@]}"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

if ! command -v cargo >/dev/null; then
    echo "setup: there is no cargo. Rust 1.85 or newer is needed: https://rustup.rs, or Debian 12's packages cargo-web and rustc-web" >&2
    exit 1
fi

if ! command -v dpkg-query >/dev/null; then
    echo "setup: not a Debian system; these Debian packages' equivalents are needed:" >&2
    echo "  ${wanted[*]}" >&2
    exit 0
fi

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
        root=()
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        root=(sudo -n)
    else
        echo "setup: these packages are missing, and only root may install them:" >&2
        echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    log="$(mktemp)"
    if ! {
        "${root[@]}" apt-get update &&
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends "${missing[@]}"
    } </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: apt-get failed; needed are: ${missing[*]}" >&2
        exit 1
    fi
    rm -f "$log"
    mapfile -t missing < <(missing_packages)
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "setup: still missing after installation: ${missing[*]}" >&2
        exit 1
    fi
fi

if [ "$1" = check ]; then
    for component in rustfmt clippy; do
        if ! cargo "${component#rust}" --version >/dev/null 2>&1; then
            echo "setup: installing the Rust component $component"
            rustup component add "$component"
        fi
    done
fi
