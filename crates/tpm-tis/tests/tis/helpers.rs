// SPDX-License-Identifier: BSD-2-Clause
//! Helpers of the tests: a TPM with fixed answers, both buses, and time limits.

use std::fmt::Debug;
use std::time::Duration;

use tpm_tis::model::{Chip, Faults, I2cFace, ModelClock, SpiFace, Traits};
use tpm_tis::{Bus, Error, I2c, Spi, Tis};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

pub type OverSpi = Tis<Spi<SpiFace>, ModelClock>;
pub type OverI2c = Tis<I2c<I2cFace>, ModelClock>;

/// A command with a header that fits, of `length` bytes.
pub fn command(length: usize) -> Vec<u8> {
    let mut command = vec![0x80, 0x01];
    command.extend((length as u32).to_be_bytes());
    command.extend([0, 0, 1, 0x7b]);
    command.extend((10..length).map(|at| at as u8));
    command
}

/// The response to a command: all of it, each byte behind the header inverted, three times.
pub fn answer(command: &[u8]) -> Vec<u8> {
    let body: Vec<u8> = command[10..].iter().map(|byte| !byte).collect();
    let mut response = vec![0x80, 0x01];
    response.extend((10 + 3 * body.len() as u32).to_be_bytes());
    response.extend([0; 4]);
    response.extend(body.repeat(3));
    response
}

pub fn chip(traits: Traits, faults: Faults) -> Chip {
    Chip::new(answer, traits, faults)
}

pub fn spi(chip: &Chip) -> OverSpi {
    Tis::new(Spi::new(chip.spi()), chip.clock())
}

pub fn i2c(chip: &Chip) -> OverI2c {
    Tis::new(I2c::new(chip.i2c()), chip.clock())
}

/// Executes a command of `length` bytes, and checks its answer.
pub fn exchange<B: Bus>(tpm: &mut Tis<B, ModelClock>, length: usize) -> Result<(), Error<B::Error>>
where
    B::Error: Debug,
{
    let mut response = [0; 4096];
    let size = tpm.execute(&command(length), &mut response, Some(100 * SECOND))?;
    assert_eq!(response[..size], answer(&command(length)), "a wrong answer");
    Ok(())
}

/// Opens a TPM and executes a command, on a chip with this, over both buses;
/// returns what that came to and how long it took.
pub fn over_both(traits: Traits, faults: Faults) -> [(String, Duration); 2] {
    let chip_on_spi = chip(traits, faults);
    let spi = outcome(&chip_on_spi, spi(&chip_on_spi));
    let chip_on_i2c = chip(
        Traits {
            checksum: true,
            guard: 100,
            refuses_repeated_start: true,
            burst: traits.burst.min(32),
            ..traits
        },
        faults,
    );
    let i2c = outcome(&chip_on_i2c, i2c(&chip_on_i2c));
    [spi, i2c]
}

fn outcome<B: Bus>(chip: &Chip, mut tpm: Tis<B, ModelClock>) -> (String, Duration) {
    let begun = chip.now();
    let result = tpm.open().and_then(|_| exchange(&mut tpm, 100));
    let text = match result {
        Ok(()) => "passed".to_owned(),
        Err(error) => error.to_string(),
    };
    (text, chip.now() - begun)
}

/// Holds that a fault ends in an error with these words, on each bus, in this time.
#[track_caller]
pub fn ends(faults: Faults, words: &str, within: Duration) {
    for (text, took) in over_both(Traits::SPI, faults) {
        assert!(text.contains(words), "{text}");
        assert!(took <= within, "{took:?}: {text}");
    }
}

/// Holds that a chip like this works, on both buses, and breaks no rule.
#[track_caller]
pub fn works(traits: Traits) {
    let on_spi = chip(traits, Faults::default());
    let mut tpm = spi(&on_spi);
    tpm.open().expect("it opens on SPI");
    for length in [10, 11, 12, 64, 65, 100, 700] {
        exchange(&mut tpm, length).unwrap_or_else(|error| panic!("{length} on SPI: {error}"));
        assert!(on_spi.is_at_rest());
    }
    tpm.release().expect("released");
    assert_eq!(on_spi.active_locality(), None);
    assert_eq!(on_spi.violations(), [""; 0]);

    let traits = Traits {
        guard: 100,
        refuses_repeated_start: true,
        checksum: true,
        ..traits
    };
    let on_i2c = chip(traits, Faults::default());
    let mut tpm = i2c(&on_i2c);
    tpm.open().expect("it opens on I2C");
    for length in [10, 11, 12, 64, 65, 100, 700] {
        exchange(&mut tpm, length).unwrap_or_else(|error| panic!("{length} on I2C: {error}"));
        assert!(on_i2c.is_at_rest());
    }
    tpm.release().expect("released");
    assert_eq!(on_i2c.violations(), [""; 0]);
}
