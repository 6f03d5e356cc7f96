// SPDX-License-Identifier: BSD-2-Clause
//! A simulated chip with a TPM of libtpms as a device file, until it is killed:
//! `tis-chip spidev0.1` or `tis-chip i2c-7`, as root, with the kernel's CUSE.

use rusttcti_kit::tis_chip::{DeviceFile, Faults, Traits, over_libtpms};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1);
    let name = name.ok_or("usage: tis-chip spidevN.N|i2c-N")?;
    let is_i2c = name.starts_with("i2c-");
    let traits = match is_i2c {
        true => Traits::I2C,
        // Each access waits for a while, so that chip select is held over calls.
        false => Traits {
            wait_bytes: 2,
            ..Traits::SPI
        },
    };
    let chip = over_libtpms(traits, Faults::default())?;
    let file = match is_i2c {
        true => DeviceFile::i2c(&name, &chip)?,
        false => DeviceFile::spidev(&name, &chip)?,
    };
    println!("{}", file.path());
    loop {
        std::thread::park();
    }
}
