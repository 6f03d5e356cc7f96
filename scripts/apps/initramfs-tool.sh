#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tpm2-initramfs-tool: a disk's passphrase sealed in the TPM.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

for kind in libtpms swtpm; do
    new_tpm "$kind"
    ok "$kind: sealed to PCR 16" tpm2-initramfs-tool seal --data passphrase -T "$tpm" -p 16
    ok "$kind: unsealed" tpm2-initramfs-tool unseal -T "$tpm" -p 16
    says "$kind: it is what was sealed" .out '^passphrase$'
    ok "$kind: unsealed, the TCTI from the environment" \
        env "TPM2_INITRAMFS_TOOL_TCTI=$tpm" tpm2-initramfs-tool unseal -p 16
    says "$kind: it is what was sealed" .out '^passphrase$'
    ok "$kind: PCR 16 is extended" extend
    refused "$kind: no more" "0x0000099d" tpm2-initramfs-tool unseal -T "$tpm" -p 16
done
