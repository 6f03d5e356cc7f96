// SPDX-License-Identifier: BSD-2-Clause
//! The transports `spidev` and `i2c` over the ioctls of device files, with a simulated
//! chip behind them. `make check-vm` runs these tests in a guest (`--ignored
//! --test-threads=1`), whose kernel has CUSE.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::thread;

use rustix::ioctl::{Setter, opcode};
use rusttcti::transport::{i2c::I2c, spidev::Spidev};
use rusttcti::wire::CommandCode;
use rusttcti::{Error, ErrorKind, Module, Result, Tcti};
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::conformance::{Subject, check_only};
use rusttcti_kit::signals;
use rusttcti_kit::tis_chip::{Chip, DeviceFile, Faults, Traits, over_libtpms};
use rusttcti_kit::tpm::ok;

const SPI: &str = "/dev/spidev3.0";
const I2C: &str = "/dev/i2c-30";

fn spi_chip(wait_bytes: usize) -> (Chip, DeviceFile) {
    let traits = Traits {
        wait_bytes,
        ..Traits::SPI
    };
    let chip = over_libtpms(traits, Faults::default()).expect("a chip");
    let file = DeviceFile::spidev("spidev3.0", &chip).expect("a device file");
    (chip, file)
}

fn i2c_chip(traits: Traits) -> (Chip, DeviceFile) {
    let chip = over_libtpms(traits, Faults::default()).expect("a chip");
    let file = DeviceFile::i2c("i2c-30", &chip).expect("a device file");
    (chip, file)
}

fn opened<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{}", error.report()))
}

fn refused<T: Module>(conf: &str) -> Error {
    match T::init(Some(conf)) {
        Ok(_) => panic!("{conf} was opened"),
        Err(error) => error,
    }
}

/// Commands and responses of many sizes.
fn converse(tpm: &mut dyn Tcti) {
    for bytes in [1, 8, 16, 32, 48] {
        assert_eq!(ok(tpm, &get_random(bytes)).len(), 12 + usize::from(bytes));
    }
    // TPM2_GetCapability of all commands: a response of over 400 bytes.
    let all = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0];
    assert!(ok(tpm, &command(CommandCode::GET_CAPABILITY, &all)).len() > 400);
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn commands_pass_over_spidev_to_chips_that_wait_and_that_do_not() {
    for wait_bytes in [0, 1, 5] {
        let (chip, _file) = spi_chip(wait_bytes);
        for conf in [SPI.to_owned(), format!("{SPI},speed=1000000")] {
            let mut tpm = opened(Spidev::init(Some(&conf)));
            converse(&mut tpm);
            tpm.finalize().expect("closed");
        }
        assert_eq!(chip.active_locality(), None);
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn commands_pass_over_i2c_dev_with_stops_guard_times_checksums_and_nacks() {
    for nacks in [0, 2] {
        let traits = Traits {
            nacks,
            ..Traits::I2C
        };
        let (chip, _file) = i2c_chip(traits);
        let mut tpm = opened(I2c::init(Some(I2C)));
        converse(&mut tpm);
        chip.set_faults(Faults {
            wrong_checksums: 1,
            flips: 1,
            ..Faults::default()
        });
        converse(&mut tpm);
        tpm.finalize().expect("closed");
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn a_program_that_died_within_an_access_harms_nothing() {
    let (chip, _file) = spi_chip(0);
    let file = std::fs::File::options().read(true).write(true).open(SPI);
    let file = file.expect("a device");
    // A header that asks for 64 bytes, chip select kept: as spidev's message of
    // one segment, by hand.
    let mut header = [0xbf_u8, 0xd4, 0x00, 0x18];
    let mut segment = [0; 32];
    let address = (header.as_mut_ptr() as usize as u64).to_ne_bytes();
    segment[..8].copy_from_slice(&address);
    segment[8..16].copy_from_slice(&address);
    segment[16] = 4;
    segment[27] = 1;
    const MESSAGE: rustix::ioctl::Opcode = opcode::write::<[u8; 32]>(b'k', 0);
    // SAFETY: a segment whose buffers are `header`, which lives on.
    unsafe { rustix::ioctl::ioctl(file.as_fd(), Setter::<MESSAGE, [u8; 32]>::new(segment)) }
        .expect("sent");
    drop(file);

    let mut tpm = opened(Spidev::init(Some(SPI)));
    converse(&mut tpm);
    assert_eq!(chip.violations(), [""; 0]);
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn a_chip_is_one_contexts_unless_it_is_shared() {
    let (chip, _file) = spi_chip(0);
    let mut one = opened(Spidev::init(Some(SPI)));
    let error = refused::<Spidev>(SPI);
    assert!(error.to_string().contains("share=1"), "{error}");
    one.finalize().expect("closed");
    drop(one);

    let shared = format!("{SPI},share=1");
    let mut one = opened(Spidev::init(Some(&shared)));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = opened(Spidev::init(Some(&shared)));
            for _ in 0..20 {
                ok(&mut other, &get_random(16));
            }
        });
        for _ in 0..20 {
            ok(&mut one, &get_random(32));
        }
    });
    assert_eq!(chip.active_locality(), None);
    assert_eq!(chip.violations(), [""; 0]);
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn what_i2c_dev_says_of_chips_that_are_not_there_is_told() {
    let (chip, _file) = i2c_chip(Traits::I2C);
    let error = refused::<I2c>(&format!("{I2C},address=0x50"));
    assert!(error.to_string().contains("a kernel driver has"), "{error}");
    let error = refused::<I2c>(&format!("{I2C},address=0x29"));
    assert!(
        error.to_string().contains("acknowledged no access"),
        "{error}"
    );

    let mut tpm = opened(I2c::init(Some(I2C)));
    chip.set_faults(Faults {
        vanish_after: Some(0),
        ..Faults::default()
    });
    let error = tpm.transmit(&get_random(8)).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NoConnection, "{error}");
    chip.set_faults(Faults::default());
    chip.reset();
    converse(&mut tpm);
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn a_storm_of_signals_changes_nothing_on_a_bus() {
    let (on_spi, _spi) = spi_chip(1);
    let (on_i2c, _i2c) = i2c_chip(Traits::I2C);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _storm = signals::storm_on_this_thread(scope, &done);
        converse(&mut opened(Spidev::init(Some(SPI))));
        converse(&mut opened(I2c::init(Some(I2C))));
    });
    assert_eq!(on_spi.violations(), [""; 0]);
    assert_eq!(on_i2c.violations(), [""; 0]);
}

/// Words of the conformance kit's checks that concern a transport more than the
/// bridge, and that ask for no speed: the guest's processor is an emulated one.
const CHECKS: &[&str] = &["poll", "child", "locality", "finalize", "signals"];

/// Holds what the conformance kit asks; each group is told as it ends.
fn conforms(subject: &Subject) {
    let mut failed = Vec::new();
    for word in CHECKS {
        let report = check_only(subject, &[word]);
        println!("{report}");
        if report.count("fail") > 0 {
            failed.push(word);
        }
    }
    assert!(failed.is_empty(), "see the tables above: {failed:?}");
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn spidev_holds_what_the_conformance_kit_asks() {
    let (_chip, _file) = spi_chip(0);
    // Some checks open a second context.
    let conf = format!("{SPI},share=1");
    conforms(&Subject::transport(move || Spidev::init(Some(&conf))));
}

#[test]
#[ignore = "needs CUSE: make check-vm"]
fn i2c_holds_what_the_conformance_kit_asks() {
    let (_chip, _file) = i2c_chip(Traits::I2C);
    let conf = format!("{I2C},share=1");
    conforms(&Subject::transport(move || I2c::init(Some(&conf))));
}
