// SPDX-License-Identifier: BSD-2-Clause
//! The driver of TPMs on SPI and I2C, with any values of the registers and any failures
//! of the bus.

#![forbid(unsafe_code)]

use tpm_tis::model::try_any_registers;

use crate::input::Input;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let length = 10 + usize::from(input.byte());
    let room = usize::from(input.byte());
    let most = 1 + usize::from(input.byte()) % 64;
    try_any_registers(input.rest(), most, length, room);
}
