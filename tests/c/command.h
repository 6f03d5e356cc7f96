/* SPDX-License-Identifier: BSD-2-Clause */
/* The header of a TPM command, as bytes of an array. */
#ifndef COMMAND_H
#define COMMAND_H

#include <tss2/tss2_tpm2_types.h>

#define BYTES16(value) (value) >> 8 & 0xff, (value) & 0xff
#define BYTES32(value) BYTES16((value) >> 16), BYTES16(value)
#define HEADER(tag, size, code) BYTES16(tag), BYTES32(size), BYTES32(code)

#endif
