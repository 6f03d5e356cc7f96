#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The device transport over a real kernel's /dev/tpm0 and /dev/tpmrm0: boots
# Debian's stock kernel in a guest without hardware support (qemu's software
# emulation), with swtpm behind its tpm-tis, and runs tpm2-tools and
# the tests of tests/device/guest*.rs there, also below the layers rm and wrap. The
# transports spidev and i2c are tested over the kernel's device files, with a
# simulated chip behind them by CUSE.
#
# RUSTTCTI_MODULE_DIR names the folder of a module built before; RUSTTCTI_VM_KERNEL
# another kernel, with a built-in tpm_tis.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh vm
kernels="$(target_folder vm)"
mkdir -p "$kernels"
work_in
qemu='' swtpm=''
tidy() {
    local pid
    for pid in $qemu $swtpm; do end_process "$pid"; done
}

# Prints the path of Debian's kernel, which is downloaded once and not installed.
kernel() {
    if [ -n "${RUSTTCTI_VM_KERNEL:-}" ]; then
        echo "$RUSTTCTI_VM_KERNEL"
        return
    fi
    local package
    package="$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)"
    if [ -z "$package" ]; then
        apt_get "$work/apt" update >&2 || true
        package="$(apt-cache depends linux-image-amd64 |
            sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)"
    fi
    [ -n "$package" ] || fail "apt knows no package linux-image-amd64"
    local file="$kernels/vmlinuz-${package#linux-image-}"
    if [ ! -e "$file" ]; then
        echo "check-vm: downloading $package (once)" >&2
        (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2) || fail "no $package to download"
        dpkg-deb --fsys-tarfile "$work/$package"_*.deb |
            tar -x -C "$work" --wildcards './boot/vmlinuz-*'
        rm "$work/$package"_*.deb
        mv "$work"/boot/vmlinuz-* "$file"
    fi
    echo "$file"
}

# Prints the folder of the modules that the guest loads, which come with the kernel.
modules() {
    local name folder
    name="$(basename "$1")"
    folder="$kernels/modules-${name#vmlinuz-}"
    if [ ! -e "$folder/cuse.ko" ]; then
        echo "check-vm: downloading the modules of ${name#vmlinuz-} (once)" >&2
        (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root \
            "linux-image-${name#vmlinuz-}" >&2) || fail "no modules to download"
        dpkg-deb --fsys-tarfile "$work/linux-image-${name#vmlinuz-}"_*.deb |
            tar -x -C "$work" --wildcards './lib/modules/*/kernel/fs/fuse/*.ko'
        rm "$work"/linux-image-*.deb
        mkdir -p "$folder"
        mv "$work"/lib/modules/*/kernel/fs/fuse/{fuse,cuse}.ko "$folder"
    fi
    echo "$folder"
}

# Copies programs and the libraries that they need to the guest's files.
put() {
    local program library
    for program in "$@"; do
        program="$(readlink -f "$(command -v "$program")")"
        ldd "$program" | sed -n 's/.*\(=> \|^\t\)\(\/[^ ]*\) (0x.*/\2/p' |
            while read -r library; do
                [ -e "$root$library" ] || cp -L --parents "$library" "$root"
            done
        [ -e "$root$program" ] || cp -L --parents "$program" "$root"
    done
}

vmlinuz="$(kernel)"

stage_module
module="$RUSTTCTI_MODULE_DIR/libtss2-tcti-rusttcti.so.0"
device="$(test_program device)"
rm_tests="$(test_program rm -p rusttcti)"
chip="$(cargo build --locked -p rusttcti-kit --example tis-chip --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*tis-chip[^"]*\)".*/\1/p' | tail -n 1)"
[ -x "$chip" ] || fail "the example tis-chip of the kit does not build"

root="$work/root"
mkdir -p "$root"/{bin,dev,proc,sys,tmp,lib,usr/lib,etc}
cp "$(command -v busybox)" "$root/bin/busybox"
strip -o "$root/bin/device" "$device"
strip -o "$root/bin/rm-tests" "$rm_tests"
strip -o "$root/bin/tis-chip" "$chip"
if [ -z "${RUSTTCTI_VM_KERNEL:-}" ]; then
    cp "$(modules "$vmlinuz")"/*.ko "$root/lib"
fi
put tpm2
# libtpms is loaded at run time, by the simulated chip's TPM.
libtpms="$(ldconfig -p | sed -n 's/.*libtpms\.so\.0 .*=> //p' | head -n 1)"
[ -n "$libtpms" ] || fail "there is no libtpms.so.0"
cp -L "$libtpms" "$root/usr/lib/libtpms.so.0"
ldd "$device" "$rm_tests" "$chip" "$module" "$libtpms" | sed -n 's/.*\(=> \|^\t\)\(\/[^ ]*\) (0x.*/\2/p' | sort -u |
    while read -r library; do
        [ -e "$root$library" ] || cp -L --parents "$library" "$root"
    done
cp -L "$module" "$root/usr/lib/libtss2-tcti-rusttcti.so.0"
cp tests/device/guest-init "$root/init"
chmod 755 "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs"

mkdir "$work/tpm"
swtpm socket --tpm2 --tpmstate dir="$work/tpm" --ctrl type=unixio,path="$work/ctrl" \
    --terminate >"$work/swtpm.log" 2>&1 </dev/null &
swtpm=$!
for _ in {1..500}; do
    if [ -S "$work/ctrl" ]; then break; fi
    kill -0 "$swtpm" 2>/dev/null || fail "swtpm does not start" "$work/swtpm.log"
    sleep 0.02
done

limit=900
timeout "$limit" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m 512 \
    -nodefaults -no-user-config -display none -no-reboot -serial stdio \
    -chardev socket,id=tpm,path="$work/ctrl" -tpmdev emulator,id=tpm,chardev=tpm \
    -device tpm-tis,tpmdev=tpm \
    -kernel "$vmlinuz" -initrd "$work/initramfs" \
    -append "console=ttyS0 quiet panic=-1 ima=off random.trust_cpu=on" \
    </dev/null >"$work/serial" 2>&1 &
qemu=$!
status=0
wait "$qemu" || status=$?
qemu=

tr -d '\r' <"$work/serial" | sed 's/^/guest: /'
if [ "$status" = 124 ]; then
    fail "the guest did not finish within $limit s"
fi
tr -d '\r' <"$work/serial" | grep -qx 'RUSTTCTI-GUEST-RESULT: PASS' ||
    fail "see the guest's messages above (qemu ended with $status)"
echo "check-vm: everything passed on $(basename "$vmlinuz")"
