#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Installs the Debian packages that are missing for a purpose, or lists them if
# it may not install. On another distribution it lists the missing programs and
# libraries. With RUSTTCTI_SETUP=no it does neither.
#
#   setup.sh demo    for the demo
#   setup.sh check   for the tests
#   setup.sh apps    for check-apps.sh
#   setup.sh vm      for check-vm.sh
#   setup.sh deb     for packages
#   setup.sh bench   for make bench
#   setup.sh arch    for other processors
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# A line: which purposes, Debian's package, how another system shows that it has
# this, and what it is called by its own project. "all" is what building and the
# demo need; arch builds in a Debian of its own.
#
#   p:NAME   a program             l:NAME   a library that the linker's cache knows
#   c:NAME   what pkg-config knows  f:NAME  a file below /usr, its name as a pattern
needed="
all             ca-certificates         -                       CA certificates
all             gcc                     p:cc                    a C compiler (gcc)
all             libc6-dev               f:stdlib.h              the headers of the C library
all             libtpms0                l:libtpms.so.0          libtpms
all             libtss2-dev             c:tss2-esys             tpm2-tss with its headers
all             pkg-config              p:pkg-config            pkg-config
all             tpm2-tools              p:tpm2_getrandom        tpm2-tools
check,vm,deb    binutils                p:readelf               binutils
check,apps      dbus-bin                p:dbus-send             dbus
check,apps      dbus-daemon             p:dbus-daemon           dbus-daemon
check           g++                     p:c++                   a C++ compiler (g++)
check,apps      libtpm2-pkcs11-1        f:libtpm2_pkcs11.so*    tpm2-pkcs11
check           libtss2-fapi1           l:libtss2-fapi.so.1     tpm2-tss: libtss2-fapi
check           libtss2-tcti-cmd0       l:libtss2-tcti-cmd.so.0 tpm2-tss: libtss2-tcti-cmd
check           libtss2-tcti-device0    l:libtss2-tcti-device.so.0 tpm2-tss: libtss2-tcti-device
check           libtss2-tcti-mssim0     l:libtss2-tcti-mssim.so.0 tpm2-tss: libtss2-tcti-mssim
check           libtss2-tcti-pcap0      l:libtss2-tcti-pcap.so.0 tpm2-tss: libtss2-tcti-pcap
check           libtss2-tcti-swtpm0     l:libtss2-tcti-swtpm.so.0 tpm2-tss: libtss2-tcti-swtpm
check,apps      libtss2-tcti-tabrmd0    l:libtss2-tcti-tabrmd.so.0 tpm2-abrmd: libtss2-tcti-tabrmd
check           man-db                  p:man                   man-db
check           mandoc                  p:mandoc                mandoc
check,apps      opensc                  p:pkcs11-tool           OpenSC
check,apps      openssh-client          p:ssh-agent             OpenSSH
check           openssh-server          p:sshd                  OpenSSH's server
check           python3-dev             c:python3               Python 3 with its headers
check           python3-venv            p:python3               Python 3 with venv
check           shellcheck              p:shellcheck            ShellCheck
check           strace                  p:strace                strace
check,vm,apps   swtpm                   p:swtpm                 swtpm
check,apps      tpm2-abrmd              p:tpm2-abrmd            tpm2-abrmd
check,apps      tpm2-openssl            f:tpm2.so               tpm2-openssl
check           tshark                  p:tshark                Wireshark's tshark
check           valgrind                p:valgrind              valgrind
bench           libtpms-dev             c:libtpms               libtpms with its headers
vm              busybox-static          p:busybox               busybox, linked statically
vm              cpio                    p:cpio                  cpio
vm              qemu-system-x86         p:qemu-system-x86_64    qemu
apps            apache2-bin             p:apache2               Apache httpd with mod_ssl
apps            clevis-luks             p:clevis-luks-bind      clevis for LUKS
apps            clevis-tpm2             p:clevis-encrypt-tpm2   clevis for TPM 2.0
apps            cryptsetup-bin          p:cryptsetup            cryptsetup
apps            curl                    p:curl                  curl
apps            libstrongswan-extra-plugins f:libstrongswan-tpm.so strongSwan's plugin tpm
apps            libstrongswan-standard-plugins f:libstrongswan-openssl.so strongSwan's plugin openssl
apps            libssl-dev              c:libcrypto             OpenSSL with its headers
apps            libtpm2-pkcs11-tools    p:tpm2_ptool            tpm2-pkcs11: tpm2_ptool
apps            nginx                   p:nginx                 nginx
apps            openssl                 p:openssl               OpenSSL
apps            strongswan-pki          p:pki                   strongSwan: pki
apps            systemd                 p:systemd-cryptenroll   systemd
apps            tpm2-initramfs-tool     p:tpm2-initramfs-tool   tpm2-initramfs-tool
deb             debhelper               p:dh                    debhelper
deb             debian-archive-keyring  f:debian-archive-keyring.* debian-archive-keyring
deb             dpkg-dev                p:dpkg-buildpackage     dpkg
deb             fakeroot                p:fakeroot              fakeroot
deb             lintian                 p:lintian               lintian
deb,arch        mmdebstrap              p:mmdebstrap            mmdebstrap
deb             pkgconf                 p:pkg-config            pkgconf
deb             python3                 p:python3               Python 3
deb             python3-rpm             -                       rpm for Python 3
deb             rpm                     p:rpmbuild              rpm
deb             rpmlint                 p:rpmlint               rpmlint
deb             xz-utils                p:xz                    xz
arch            arch-test               p:arch-test             arch-test
arch            ca-certificates         -                       CA certificates
"

purpose="${1:-}"
# What each purpose needs beside its own lines.
case $purpose in
    demo) purposes="all" ;;
    check | apps | vm | deb) purposes="all $purpose" ;;
    bench) purposes="all check bench" ;;
    arch) purposes="arch" ;;
    *) usage ;;
esac
if [ "${RUSTTCTI_SETUP:-}" = no ]; then exit 0; fi

# lines: prints package, sign and name of each line that the purpose needs.
lines() {
    local of package sign name
    while read -r of package sign name; do
        for one in $purposes; do
            case ",$of," in *,"$one",*) echo "$package $sign $name" && break ;; esac
        done
    done <<<"$needed"
}

# is_there SIGN: whether a system without dpkg has it, and true where that cannot
# be seen.
is_there() {
    case $1 in
        p:*) command -v "${1#p:}" >/dev/null ;;
        l:*) [[ "$(ldconfig -p 2>/dev/null)" == *$'\t'"${1#l:} "* ]] ;;
        # Without pkg-config that is what is missing.
        c:*) ! command -v pkg-config >/dev/null || pkg-config --exists "${1#c:}" ;;
        f:*)
            [ -n "$(find /usr/include /usr/lib* /usr/share -name "${1#f:}" -print -quit 2>/dev/null)" ]
            ;;
    esac
}

if ! command -v cargo >/dev/null; then
    fail "there is no cargo. Rust $(manifest rust-version) or newer is needed: https://rustup.rs, or Debian 12's packages cargo-web and rustc-web"
fi

if command -v dpkg-query >/dev/null; then
    mapfile -t packages < <(lines | cut -d ' ' -f 1)
    install_packages "${packages[@]}"
else
    missing=()
    while read -r _ sign name; do
        if [ "$sign" != - ] && ! is_there "$sign"; then missing+=("$name (${sign#?:})"); fi
    done < <(lines)
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "setup: this is no Debian, where it would install what is missing. These programs and libraries are:" >&2
        printf '  %s\n' "${missing[@]}" >&2
        echo "setup: install them, or go on without them by RUSTTCTI_SETUP=no" >&2
        exit 1
    fi
fi

if [ "$purpose" = check ]; then
    for component in rustfmt clippy; do
        if ! cargo "${component#rust}" --version >/dev/null 2>&1; then
            echo "setup: installing the Rust component $component"
            rustup component add "$component"
        fi
    done
fi
