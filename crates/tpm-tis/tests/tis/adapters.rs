// SPDX-License-Identifier: BSD-2-Clause
//! The adapters for embedded-hal's `SpiBus` with a pin, and `SpiDevice`.

use tpm_tis::model::{Faults, Traits};
use tpm_tis::{DegradedSpi, PinLink, Spi, Tis};

use crate::helpers::*;

#[test]
fn a_bus_and_a_pin_serve_chips_that_wait_and_that_do_not() {
    for wait_bytes in [0, 1, 7] {
        let traits = Traits {
            wait_bytes,
            ..Traits::SPI
        };
        let chip = chip(traits, Faults::default());
        let (bus, pin) = chip.spi().pair();
        let mut tpm = Tis::new(Spi::new(PinLink::new(bus, pin)), chip.clock());
        tpm.open().expect("it opens");
        exchange(&mut tpm, 200).expect("an answer");
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
fn a_device_serves_chips_that_do_not_wait() {
    for wait in [0, 16, 100] {
        let chip = chip(Traits::SPI, Faults::default());
        let mut tpm = Tis::new(DegradedSpi::new(chip.spi(), wait), chip.clock());
        tpm.open().expect("it opens");
        exchange(&mut tpm, 200).expect("an answer");
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
fn a_device_says_that_it_cannot_serve_chips_that_wait() {
    let traits = Traits {
        wait_bytes: 3,
        ..Traits::SPI
    };
    for (wait, register) in [(2, "TPM_DID_VID"), (3, "TPM_ACCESS")] {
        let chip = chip(traits, Faults::default());
        let mut tpm = Tis::new(DegradedSpi::new(chip.spi(), wait), chip.clock());
        // With enough bytes reads pass, and the first write doesn't.
        let error = tpm.open().expect_err("it waits").to_string();
        assert!(error.contains("wait state"), "{error}");
        assert!(error.contains(register), "{error}");
    }
}
