// SPDX-License-Identifier: BSD-2-Clause
//! The mistakes of the SPI and I2C helpers of tpm2-tss 4.2, each by name. faults.rs
//! tests most of them. This file has the rest, and the list.
//!
//! | tpm2-tss 4.2 | here |
//! | --- | --- |
//! | any valid ACCESS byte passes for a locality | `a_valid_access_byte_is_no_locality` |
//! | a burst count of 0 hangs | `a_burst_count_of_0_for_ever` |
//! | VALID never set hangs | `valid_that_is_never_set` |
//! | Expect stuck hangs | `expect_that_stays_set` |
//! | wait states without end hang | `wait_states_without_end` |
//! | NACKs without end hang | `nacks_without_end` |
//! | a device that vanishes hangs | `a_chip_that_vanishes_after_any_number_of_accesses` |
//! | FIFO errors are dropped | `an_error_at_the_fifo_is_an_error_of_the_command` |
//! | a response size under 7 underflows | `sizes_that_no_response_has` |
//! | a failed open of spidev goes on | the transport's tests |
//! | VALID that comes late fails | `valid_that_comes_late_after_each_access` |
//! | a locality granted after 400 ms fails | `a_locality_granted_after_400_ms` |
//! | a burst of 1 fails | `bursts_of_any_size_from_1` |
//! | no locality | `every_locality_can_be_used_and_only_one_is_active` |
//! | no cancel | `a_cancelled_command_answers_canceled` |
//! | no poll | the transport's tests |
//! | a CRC mismatch is final | `a_wrong_checksum_once_and_always` |
//! | an idle TPM costs 2 s | `an_idle_chip_costs_no_time` |
//! | 0xFFFFFFFF is a device | `a_dead_bus_of_ones` |

use tpm_tis::Error;
use tpm_tis::model::{Faults, I2cFault, Traits};
use tpm_tis::registers::Register;

use crate::helpers::*;

#[test]
fn a_valid_access_byte_is_no_locality() {
    let faults = Faults {
        access_always_valid: true,
        ..Faults::default()
    };
    ends(faults, "TPM_ACCESS reads 0x81 after 75", 900 * MS);
}

#[test]
fn an_error_at_the_fifo_is_an_error_of_the_command() {
    let chip = chip(Traits::I2C, Faults::default());
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    // The next access but one is the FIFO's.
    chip.take_counts();
    exchange(&mut tpm, 100).expect("an answer");
    let whole = chip.take_counts().accesses;
    let mut fifo = 0;
    // The very last access leaves the chip idle: the response is right without it.
    for after in 0..whole - 1 {
        let chip = crate::helpers::chip(Traits::I2C, Faults::default());
        let mut tpm = i2c(&chip);
        tpm.open().expect("it opens");
        let opened = chip.take_counts().accesses;
        chip.set_faults(Faults {
            vanish_after: Some(opened + after),
            ..Faults::default()
        });
        match exchange(&mut tpm, 100) {
            Err(Error::Bus { register, error }) => {
                assert_eq!(error, I2cFault::Gone);
                fifo += u32::from(register == Register::DataFifo);
            }
            other => panic!("{after}: {other:?}"),
        }
    }
    assert!(fifo >= 10, "{fifo}");
}

#[test]
fn an_idle_chip_costs_no_time() {
    let chip = chip(Traits::SPI, Faults::default());
    let mut tpm = spi(&chip);
    let begun = chip.now();
    tpm.open().expect("it opens");
    exchange(&mut tpm, 12).expect("an answer");
    exchange(&mut tpm, 12).expect("an answer");
    let took = chip.now() - begun;
    assert!(took < 5 * MS, "{took:?}");
}
