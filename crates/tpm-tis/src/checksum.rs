// SPDX-License-Identifier: BSD-2-Clause
//! The checksum of commands and responses on I2C: CRC-16/KERMIT.

/// Returns the CRC-16/KERMIT of `bytes` (polynomial 0x1021 reflected, from 0).
///
/// ```
/// assert_eq!(tpm_tis::crc16(b"123456789"), 0x2189);
/// ```
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x8408
            } else {
                crc >> 1
            }
        })
    })
}
