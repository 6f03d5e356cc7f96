// SPDX-License-Identifier: BSD-2-Clause
//! The chip's registers and bits. They are written a second time on purpose, so that
//! the model does not share a mistake of the driver.

pub(super) const ACCESS: u16 = 0x00;
pub(super) const STS: u16 = 0x18;
pub(super) const FIFO: u16 = 0x24;
pub(super) const DID_VID: u16 = 0xf00;
pub(super) const RID: u16 = 0xf04;
/// The registers that only I2C has.
pub(super) const I2C_CAPABILITY: u16 = 0x1030;
pub(super) const I2C_DEVICE: u16 = 0x1038;
pub(super) const CSUM_ENABLE: u16 = 0x1040;
pub(super) const CSUM: u16 = 0x1044;

/// The register at an address on I2C.
pub(super) fn of_i2c(address: u8) -> Option<u16> {
    Some(match address {
        0x04 => ACCESS,
        0x18 => STS,
        0x24 => FIFO,
        0x30 => I2C_CAPABILITY,
        0x38 => I2C_DEVICE,
        0x40 => CSUM_ENABLE,
        0x44 => CSUM,
        0x48 => DID_VID,
        0x4c => RID,
        _ => return None,
    })
}

/// CRC-16/KERMIT by its definition, bit by bit over reflected bytes.
pub(super) fn kermit(bytes: &[u8]) -> u16 {
    let mut register: u16 = 0;
    for byte in bytes {
        for bit in 0..8 {
            let feedback = (register & 1 != 0) != (byte >> bit & 1 != 0);
            register >>= 1;
            if feedback {
                register ^= 0x8408;
            }
        }
    }
    register
}
