// SPDX-License-Identifier: BSD-2-Clause
//! Tests of the transport over the simulated chip, in real time. `make check-vm` tests
//! the kernel's calls below it.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tpm_tis::model::{Chip as Model, Faults, I2cFace, I2cFault, Level, SpiFace, SpiFault, Traits};
use tpm_tis::{I2c, Spi};

use super::{BusError, Chip, Opened, Turn};
use crate::wire::{CommandBuilder, CommandCode};
use crate::{ErrorKind, Result};

const MS: Duration = Duration::from_millis(1);
const SOON: Option<Duration> = Some(Duration::from_secs(10));

fn get_random() -> Vec<u8> {
    CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build()
}

impl BusError for SpiFault {
    fn errno(&self) -> Option<Errno> {
        None
    }
}

impl BusError for I2cFault {
    fn errno(&self) -> Option<Errno> {
        match self {
            Self::Nack => Some(Errno::NXIO),
            Self::Gone => Some(Errno::NODEV),
        }
    }
}

fn response() -> Vec<u8> {
    let mut response = vec![0x80, 1, 0, 0, 0, 28, 0, 0, 0, 0, 0, 16];
    response.extend(1..=16);
    response
}

fn model(command: Duration, traits: Traits) -> Model {
    let traits = Traits { command, ..traits };
    Model::in_real_time(|_| response(), traits, Faults::default())
}

fn turn() -> Turn {
    Turn::new(None, "model", false)
}

fn spi(model: &Model) -> Chip<Spi<SpiFace>> {
    let model = model.clone();
    let open = move || {
        Ok(Opened {
            bus: Spi::new(model.spi()),
            turn: turn(),
        })
    };
    Chip::open("model", Box::new(open)).expect("it opens")
}

fn i2c(model: &Model) -> Chip<I2c<I2cFace>> {
    let model = model.clone();
    let open = move || {
        Ok(Opened {
            bus: I2c::new(model.i2c()),
            turn: turn(),
        })
    };
    Chip::open("model", Box::new(open)).expect("it opens")
}

fn received(result: Result<usize>, buffer: &[u8]) {
    let size = result.unwrap_or_else(|error| panic!("{}", error.report()));
    assert_eq!(buffer[..size], response());
}

/// Whether the chip's poll handle becomes readable within this time.
fn shows(chip: &Chip<Spi<SpiFace>>, within: Duration) -> bool {
    let fd = chip.timer.as_ref().expect("a timer").as_fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let within = Timespec::try_from(within).expect("a short time");
    poll(&mut fds, Some(&within)).expect("poll") == 1
}

#[test]
fn a_receive_of_no_time_looks_once_and_one_with_a_timeout_keeps_it() {
    let model = model(300 * MS, Traits::SPI);
    let mut chip = spi(&model);
    let mut buffer = [0; 4096];
    chip.transmit(&get_random()).expect("sent");
    model.take_counts();
    let error = chip.receive(&mut buffer, Some(Duration::ZERO));
    assert_eq!(error.expect_err("early").kind(), ErrorKind::TryAgain);
    assert_eq!(model.take_counts().accesses, 1);

    let begun = Instant::now();
    let error = chip.receive(&mut buffer, Some(50 * MS));
    assert_eq!(error.expect_err("early").kind(), ErrorKind::TryAgain);
    assert!(begun.elapsed() >= 50 * MS, "{:?}", begun.elapsed());
    received(chip.receive(&mut buffer, None), &buffer);
    assert!(model.is_at_rest());
}

#[test]
fn a_response_waits_for_a_buffer_that_is_large_enough() {
    let model = model(Duration::ZERO, Traits::I2C);
    let mut chip = i2c(&model);
    chip.transmit(&get_random()).expect("sent");
    let error = chip.receive(&mut [0; 27], SOON).expect_err("too small");
    assert_eq!(error.kind(), ErrorKind::InsufficientBuffer);
    let mut buffer = [0; 28];
    received(chip.receive(&mut buffer, Some(Duration::ZERO)), &buffer);
}

#[test]
fn the_poll_handle_goes_off_until_the_response_is_there_and_is_silent_otherwise() {
    let model = model(100 * MS, Traits::SPI);
    let mut chip = spi(&model);
    assert_eq!(chip.poll_handles().expect("handles").len(), 1);
    for _ in 0..2 {
        assert!(!shows(&chip, 10 * MS), "no command is under way");
        chip.transmit(&get_random()).expect("sent");
        let (begun, mut looks) = (Instant::now(), 0);
        let mut buffer = [0; 4096];
        loop {
            assert!(shows(&chip, Duration::from_secs(10)));
            match chip.receive(&mut buffer, Some(Duration::ZERO)) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::TryAgain, "{error}"),
                result => break received(result, &buffer),
            }
            looks += 1;
        }
        assert!(begun.elapsed() >= 100 * MS);
        // A millisecond or more lies between two looks.
        assert!((1..=100).contains(&looks), "{looks}");
    }
}

#[test]
fn a_poll_handle_that_is_asked_for_while_a_command_is_under_way_goes_off() {
    let model = model(MS, Traits::SPI);
    let mut chip = spi(&model);
    chip.transmit(&get_random()).expect("sent");
    chip.poll_handles().expect("handles");
    assert!(shows(&chip, Duration::from_secs(10)));
    let mut buffer = [0; 4096];
    received(chip.receive(&mut buffer, SOON), &buffer);
    assert!(!shows(&chip, 10 * MS), "the response was taken");
}

#[test]
fn a_command_is_cancelled_while_another_thread_waits_for_it() {
    let model = model(60_000 * MS, Traits::I2C);
    let mut chip = i2c(&model);
    chip.transmit(&get_random()).expect("sent");
    let canceller = chip.canceller().expect("there is one");
    let mut buffer = [0; 4096];
    let size = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(20 * MS);
            canceller.cancel().expect("cancelled");
        });
        chip.receive(&mut buffer, SOON)
    });
    assert_eq!(size.expect("an answer"), 10);
    assert_eq!(buffer[..10], [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 9]);
    canceller.cancel().expect("there is nothing to cancel");
}

#[test]
fn localities_0_to_4_are_the_chips_and_others_are_refused() {
    let model = model(Duration::ZERO, Traits::SPI);
    let mut chip = spi(&model);
    for locality in [3, 0, 4, 1, 2] {
        chip.set_locality(locality).expect("there is one");
        chip.transmit(&get_random()).expect("sent");
        assert_eq!(model.active_locality(), Some(locality));
        let mut buffer = [0; 4096];
        received(chip.receive(&mut buffer, SOON), &buffer);
    }
    let error = chip.set_locality(32).expect_err("no such locality");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert_eq!(model.violations(), [""; 0]);
}

#[test]
fn closing_aborts_the_command_and_releases_the_locality() {
    let model = model(60_000 * MS, Traits::SPI);
    let mut chip = spi(&model);
    chip.transmit(&get_random()).expect("sent");
    assert!(!model.is_at_rest());
    chip.finalize().expect("closed");
    assert!(model.is_at_rest());
    assert_eq!(model.active_locality(), None);
    assert_eq!(
        chip.receive(&mut [0; 10], None).expect_err("closed").kind(),
        ErrorKind::NoConnection
    );
}

#[test]
fn a_command_without_a_receive_is_aborted_by_the_next_one() {
    let model = model(60_000 * MS, Traits::SPI);
    let mut chip = spi(&model);
    chip.transmit(&get_random()).expect("sent");
    model.set_traits(Traits::SPI);
    chip.transmit(&get_random()).expect("sent");
    let mut buffer = [0; 4096];
    received(chip.receive(&mut buffer, SOON), &buffer);
    assert_eq!(model.violations(), [""; 0]);
}

#[test]
fn a_device_that_is_gone_is_no_connection_and_is_opened_anew_by_the_next_command() {
    let model = model(Duration::ZERO, Traits::I2C);
    let mut chip = i2c(&model);
    model.set_faults(Faults {
        vanish_after: Some(0),
        ..Faults::default()
    });
    for _ in 0..2 {
        let error = chip.transmit(&get_random()).expect_err("it is gone");
        assert_eq!(error.kind(), ErrorKind::NoConnection, "{error}");
        assert!(
            error.to_string().contains("model: the bus failed at TPM_"),
            "{error}"
        );
    }
    model.set_faults(Faults::default());
    model.reset();
    chip.transmit(&get_random()).expect("opened anew");
    let mut buffer = [0; 4096];
    received(chip.receive(&mut buffer, SOON), &buffer);
}

#[test]
fn a_fault_is_an_error_that_names_the_device_the_register_and_its_bits() {
    let model = model(Duration::ZERO, Traits::SPI);
    let mut chip = spi(&model);
    model.set_faults(Faults {
        expect_stuck: true,
        ..Faults::default()
    });
    let error = chip.transmit(&get_random()).expect_err("stuck");
    assert_eq!(error.kind(), ErrorKind::IoError);
    for word in ["model", "TPM_STS reads", "its bits 0x88 should be 0x80"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    model.set_faults(Faults {
        size: Some(9),
        ..Faults::default()
    });
    chip.transmit(&get_random()).expect("sent");
    let error = chip
        .receive(&mut [0; 4096], SOON)
        .expect_err("no such size");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    model.set_faults(Faults {
        dead: Some(Level::High),
        ..Faults::default()
    });
    let error = chip.transmit(&get_random()).expect_err("dead");
    assert_eq!(error.kind(), ErrorKind::IoError);
    model.set_faults(Faults::default());
    chip.transmit(&get_random()).expect("mended");
    let mut buffer = [0; 4096];
    received(chip.receive(&mut buffer, SOON), &buffer);
}

#[test]
fn a_storm_of_signals_changes_nothing() {
    let model = model(5 * MS, Traits::I2C);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _storm = rusttcti_kit::signals::storm_on_this_thread(scope, &done);
        let mut chip = i2c(&model);
        for _ in 0..5 {
            chip.transmit(&get_random()).expect("sent");
            let mut buffer = [0; 4096];
            received(chip.receive(&mut buffer, SOON), &buffer);
        }
    });
    assert_eq!(model.violations(), [""; 0]);
}
