// SPDX-License-Identifier: BSD-2-Clause
//! The variants of correct chips: the driver works with each, over both buses, and
//! violates no rule.

use std::fmt::Debug;
use std::time::Duration;

use tpm_tis::model::{Faults, ModelClock, Traits};
use tpm_tis::{Bus, Error, Tis};

use crate::helpers::*;

#[test]
fn a_chip_that_never_waits_and_one_that_always_does() {
    for wait_bytes in [0, 1, 2, 50] {
        works(Traits {
            wait_bytes,
            ..Traits::SPI
        });
    }
}

#[test]
fn bursts_of_any_size_from_1() {
    for burst in [1, 2, 8, 31, 63, 64, 65, 1000] {
        works(Traits {
            burst,
            ..Traits::SPI
        });
    }
}

#[test]
fn a_burst_count_that_is_0_after_each_access() {
    works(Traits {
        burst_zero: 2 * MS,
        burst: 8,
        ..Traits::SPI
    });
}

#[test]
fn valid_that_comes_late_after_each_access() {
    works(Traits {
        valid: 150 * MS,
        ..Traits::SPI
    });
}

#[test]
fn a_chip_that_is_slowly_ready() {
    works(Traits {
        ready: 1900 * MS,
        ..Traits::SPI
    });
}

#[test]
fn a_chip_that_is_ready_after_a_response_and_one_that_is_idle() {
    for goes_idle in [true, false] {
        works(Traits {
            goes_idle,
            ..Traits::SPI
        });
    }
}

#[test]
fn a_locality_granted_after_400_ms() {
    works(Traits {
        grant: Some(400 * MS),
        ..Traits::SPI
    });
}

#[test]
fn a_chip_that_refuses_some_transfers_by_nack() {
    works(Traits {
        nacks: 3,
        ..Traits::SPI
    });
}

#[test]
fn a_chip_without_guard_times_with_and_without_a_repeated_start() {
    for yes in [true, false] {
        let traits = Traits {
            guard: 0,
            refuses_repeated_start: false,
            ..Traits::I2C
        };
        let chip = chip(traits, Faults::default());
        let bus = tpm_tis::I2c::new(chip.i2c()).repeated_start(yes);
        let mut tpm = tpm_tis::Tis::new(bus, chip.clock());
        tpm.open().expect("it opens");
        exchange(&mut tpm, 100).expect("it answers");
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
fn a_chip_without_checksums() {
    let traits = Traits {
        checksum: false,
        ..Traits::I2C
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    exchange(&mut tpm, 100).expect("it answers");
}

#[test]
fn every_locality_can_be_used_and_only_one_is_active() {
    let chip = chip(Traits::SPI, Faults::default());
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    for locality in [1, 4, 2, 3, 0] {
        tpm.set_locality(locality).expect("there is one");
        assert_eq!(chip.active_locality(), None, "the old one is released");
        exchange(&mut tpm, 20).expect("an answer");
        assert_eq!(chip.active_locality(), Some(locality));
    }
    assert_eq!(tpm.set_locality(5), Err(Error::Locality(5)));
    assert_eq!(chip.violations(), [""; 0]);
}

#[test]
fn the_end_of_a_command_is_noticed_within_an_interval_of_at_most_5_ms() {
    for (command_time, late) in [(0, 1), (3, 1), (10, 1), (70, 5), (5000, 5), (60_000, 5)] {
        let traits = Traits {
            command: command_time * MS,
            ..Traits::SPI
        };
        let chip = chip(traits, Faults::default());
        let mut tpm = spi(&chip);
        tpm.open().expect("it opens");
        tpm.start(&command(20)).expect("sent");
        let begun = chip.now();
        tpm.wait(&mut [0; 64], None).expect("received");
        let took = chip.now() - begun - command_time * MS;
        assert!(took <= late * MS + MS / 2, "{command_time} ms: {took:?}");
    }
}

#[test]
fn a_step_looks_once_and_does_not_wait() {
    let traits = Traits {
        command: 50 * MS,
        ..Traits::SPI
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    assert_eq!(tpm.step(&mut [0; 64]), Err(Error::NotStarted));
    tpm.start(&command(20)).expect("sent");
    chip.take_counts();
    let begun = chip.now();
    assert_eq!(tpm.step(&mut [0; 64]), Ok(None));
    assert_eq!(chip.take_counts().accesses, 1);
    assert!(chip.now() - begun < Duration::from_micros(20));
    assert_eq!(tpm.wait(&mut [0; 64], Some(MS)), Ok(None));
    assert_eq!(tpm.wait(&mut [0; 64], Some(SECOND)), Ok(Some(40)));
}

#[test]
fn a_response_that_comes_byte_by_byte_is_kept_over_steps() {
    let traits = Traits {
        burst: 1,
        burst_zero: 3 * MS,
        valid: 2 * MS,
        ..Traits::SPI
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    tpm.start(&command(12)).expect("sent");
    let mut response = [0; 64];
    let mut steps = 0;
    while tpm.step(&mut response).expect("no error").is_none() {
        steps += 1;
        assert!(steps < 2000);
        tpm_tis::hal::delay::DelayNs::delay_us(&mut chip.clock(), 100);
    }
    assert!(steps > 100, "{steps}");
    assert_eq!(response[..16], answer(&command(12)));
}

#[test]
fn a_cancelled_command_answers_canceled() {
    let slow = |traits| Traits {
        command: 60 * SECOND,
        ..traits
    };
    is_cancelled(&mut spi(&chip(slow(Traits::SPI), Faults::default())));
    is_cancelled(&mut i2c(&chip(slow(Traits::I2C), Faults::default())));
}

/// Checks that a command that runs is cancelled at once.
fn is_cancelled<B: Bus>(tpm: &mut Tis<B, ModelClock>)
where
    B::Error: Debug,
{
    tpm.open().expect("it opens");
    tpm.start(&command(20)).expect("sent");
    tpm.cancel().expect("cancelled");
    let mut response = [0; 64];
    let size = tpm.wait(&mut response, Some(10 * MS));
    let size = size.expect("no error").expect("an answer");
    assert_eq!(response[..size], [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 9]);
}

#[test]
fn a_command_that_takes_too_long_for_the_caller_is_aborted() {
    let traits = Traits {
        command: 60 * SECOND,
        ..Traits::SPI
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    let error = tpm.execute(&command(20), &mut [0; 64], Some(SECOND));
    assert!(matches!(error, Err(Error::OutOfTime { waited }) if waited < SECOND + 10 * MS));
    assert!(chip.is_at_rest());
    chip.set_traits(Traits::SPI);
    exchange(&mut tpm, 20).expect("the next one passes");
}

#[test]
fn half_a_command_an_unread_response_and_a_running_command_of_another_are_aborted() {
    for left in ["half", "unread", "running"] {
        let traits = Traits {
            command: if left == "running" { 60 * SECOND } else { MS },
            ..Traits::SPI
        };
        let chip = chip(traits, Faults::default());
        chip.write(0, 0x00, &[0x02]);
        let mut access = [0];
        chip.read(0, 0x00, &mut access);
        chip.write(0, 0x18, &[0x40]);
        let command = command(30);
        match left {
            "half" => chip.write(0, 0x24, &command[..17]),
            _ => {
                chip.write(0, 0x24, &command);
                chip.write(0, 0x18, &[0x20]);
            }
        }
        let mut tpm = spi(&chip);
        tpm.open().expect("it opens");
        assert!(chip.is_at_rest(), "{left}");
        chip.set_traits(Traits::SPI);
        exchange(&mut tpm, 100).expect(left);
        assert_eq!(chip.violations(), [""; 0]);
    }
}

#[test]
fn a_locality_that_a_dead_program_left_active_is_released_when_opened() {
    let chip = chip(Traits::SPI, Faults::default());
    chip.write(2, 0x00, &[0x02]);
    chip.read(2, 0x00, &mut [0]);
    assert_eq!(chip.active_locality(), Some(2));
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    assert_eq!(chip.active_locality(), Some(0));
}

#[test]
fn a_chip_that_was_reset_between_two_commands_serves_the_second() {
    let on_spi = chip(Traits::SPI, Faults::default());
    let mut tpm = spi(&on_spi);
    tpm.open().expect("it opens");
    exchange(&mut tpm, 20).expect("an answer");
    on_spi.reset();
    exchange(&mut tpm, 20).expect("an answer after the reset");

    let on_i2c = chip(Traits::I2C, Faults::default());
    let mut tpm = i2c(&on_i2c);
    tpm.open().expect("it opens");
    exchange(&mut tpm, 20).expect("an answer");
    on_i2c.reset();
    exchange(&mut tpm, 20).expect("an answer after the reset");
}

#[test]
fn a_command_whose_header_has_another_size_is_not_sent() {
    let chip = chip(Traits::SPI, Faults::default());
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    chip.take_counts();
    for bad in [&command(20)[..19], &[][..], &command(10)[..9]] {
        let length = bad.len();
        assert_eq!(tpm.start(bad), Err(Error::CommandSize { length }));
    }
    assert_eq!(chip.take_counts().accesses, 0);
}
