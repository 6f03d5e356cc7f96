// SPDX-License-Identifier: BSD-2-Clause
//! A command takes at most 1.1 times the accesses and bytes that the profile requires.

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

/// TPM2_GetRandom of 16 bytes in the steady state: 12 bytes out and 28 back.
fn get_random(traits: Traits) -> Counts {
    let random = |_: &[u8]| {
        let mut response = vec![0x80, 1, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16];
        response.extend([7; 16]);
        response
    };
    let chip = tpm_tis::model::Chip::new(random, traits, Faults::default());
    let count = |tpm: &mut dyn FnMut()| {
        tpm();
        tpm();
        chip.take_counts();
        tpm();
        chip.take_counts()
    };
    if traits.checksum {
        let mut tpm = i2c(&chip);
        tpm.open().expect("it opens");
        count(&mut || assert_eq!(tpm.execute(&command(12), &mut [0; 64], None), Ok(28)))
    } else {
        let mut tpm = spi(&chip);
        tpm.open().expect("it opens");
        count(&mut || assert_eq!(tpm.execute(&command(12), &mut [0; 64], None), Ok(28)))
    }
}

/// What tpm2-tss 4.2's SPI helper does for a command of 12 bytes whose response
/// has 28, register by register: four bytes of STS each time, a look before each
/// burst, no look at Expect, the response's last byte alone.
fn tpm2_tss() -> Counts {
    use tpm_tis::registers::Register::{DataFifo, Status};
    use tpm_tis::{Bus, Spi};
    let random = |_: &[u8]| {
        let mut response = vec![0x80, 1, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16];
        response.extend([7; 16]);
        response
    };
    let chip = tpm_tis::model::Chip::new(random, Traits::SPI, Faults::default());
    spi(&chip).open().expect("it opens");
    chip.take_counts();
    let (mut bus, mut clock) = (Spi::new(chip.spi()), chip.clock());
    let mut look = |bus: &mut Spi<_>| {
        let mut status = [0; 4];
        let read = bus.read(&mut clock, 0, Status, &mut status);
        read.expect("a look");
        u32::from_le_bytes(status)
    };
    let mut clock = chip.clock();
    let mut control = |bus: &mut Spi<_>, bit: u32| {
        let written = bus.write(&mut clock, 0, Status, &bit.to_le_bytes());
        written.expect("written");
    };
    let mut clock = chip.clock();
    control(&mut bus, 0x40);
    assert_eq!(look(&mut bus) & 0x40, 0x40);
    look(&mut bus);
    let written = bus.write(&mut clock, 0, DataFifo, &command(12));
    written.expect("written");
    control(&mut bus, 0x20);
    assert_eq!(look(&mut bus) & 0x90, 0x90);
    let mut response = [0; 28];
    let (header, rest) = response.split_at_mut(10);
    let (rest, last) = rest.split_at_mut(17);
    for (part, looks) in [(header, 0), (rest, 1), (last, 1)] {
        for _ in 0..looks {
            look(&mut bus);
        }
        let read = bus.read(&mut clock, 0, DataFifo, part);
        read.expect("read");
    }
    assert_eq!(look(&mut bus) & 0x90, 0x80);
    control(&mut bus, 0x40);
    assert_eq!(response[27], 7);
    chip.take_counts()
}

#[test]
fn a_command_costs_no_more_than_with_tpm2_tss_which_checks_less() {
    let (ours, theirs) = (get_random(Traits::SPI), tpm2_tss());
    println!("{ours:?}, tpm2-tss {theirs:?}");
    assert!(ours.accesses <= theirs.accesses, "{ours:?}: {theirs:?}");
    assert!(ours.bytes <= theirs.bytes, "{ours:?}: {theirs:?}");
    let row = format!(
        "| SPI, tpm2-tss 4.2's helper | {} | {} |",
        theirs.accesses, theirs.bytes
    );
    assert!(documentation().contains(&row), "{row}");
}

fn documentation() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/embedded.md");
    std::fs::read_to_string(path).expect("the documentation")
}

#[test]
fn the_costs_that_the_documentation_tells_are_these() {
    let text = documentation();
    for (bus, traits) in [
        ("SPI, bursts of 64", Traits::SPI),
        ("I2C, bursts of 32, with checksums", Traits::I2C),
    ] {
        let Counts {
            accesses, bytes, ..
        } = get_random(traits);
        let row = format!("| {bus} | {accesses} | {bytes} |");
        assert!(text.contains(&row), "{row}");
    }
}
