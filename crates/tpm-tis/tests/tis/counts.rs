// SPDX-License-Identifier: BSD-2-Clause
//! How many accesses and bytes a command costs, against the least that the
//! profile needs: at most 1.1 times as much.

use tpm_tis::model::{Counts, Faults, Traits};

use crate::helpers::*;

/// The accesses that a command needs at least, of `sent` and `received` bytes on
/// a chip that is idle before: commandReady and a look whether it is ready; each
/// burst of the command, the last byte alone, and a look at STS after each,
/// which shows Expect and the next burst count; go; a look that shows the
/// response; each of its bursts (the header alone, which has the size), and a
/// look after each; commandReady.
fn least(sent: usize, received: usize, burst: usize) -> u64 {
    let body = (sent - 1).div_ceil(burst);
    let rest = (received - 10).div_ceil(burst);
    let header = 10usize.div_ceil(burst);
    (2 + 2 * (body + 1) + 1 + 1 + 2 * (header + rest) + 1) as u64
}

fn steady(counts: impl Fn(usize) -> (Counts, usize), burst: usize, each: usize, extra: u64) {
    for length in [12, 64, 200, 1000] {
        let (counts, received) = counts(length);
        let accesses = least(length, received, burst) + extra;
        // STS is read by four bytes, and written by one, three times.
        let looks = counts.status - 3;
        let bytes = (length + received) as u64 + 4 * looks + 3 + 2 * extra + each as u64 * accesses;
        println!("{length}: {counts:?}, least {accesses} accesses, {bytes} bytes");
        assert!(
            counts.accesses * 10 <= accesses * 11,
            "{counts:?}: {accesses}"
        );
        assert!(counts.bytes * 10 <= bytes * 11, "{counts:?}: {bytes}");
    }
}

#[test]
fn a_command_over_spi_costs_what_the_profile_needs() {
    for burst in [64, 32] {
        let traits = Traits {
            burst,
            ..Traits::SPI
        };
        let chip = chip(traits, Faults::default());
        let tpm = std::cell::RefCell::new(spi(&chip));
        tpm.borrow_mut().open().expect("it opens");
        let counts = |length| {
            let mut tpm = tpm.borrow_mut();
            exchange(&mut tpm, length).expect("an answer");
            chip.take_counts();
            exchange(&mut tpm, length).expect("an answer");
            (chip.take_counts(), answer(&command(length)).len())
        };
        steady(counts, burst, 4, 0);
    }
}

#[test]
fn a_command_over_i2c_costs_that_and_two_checksums() {
    let chip = chip(Traits::I2C, Faults::default());
    let tpm = std::cell::RefCell::new(i2c(&chip));
    tpm.borrow_mut().open().expect("it opens");
    let counts = |length| {
        let mut tpm = tpm.borrow_mut();
        exchange(&mut tpm, length).expect("an answer");
        chip.take_counts();
        exchange(&mut tpm, length).expect("an answer");
        (chip.take_counts(), answer(&command(length)).len())
    };
    // The chip's address and the register's, and the chip's again for a read.
    steady(counts, 32, 3, 2);
}
