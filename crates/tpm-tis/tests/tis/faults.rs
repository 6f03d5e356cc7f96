// SPDX-License-Identifier: BSD-2-Clause
//! Each fault by name: the command ends in time, with an error that says where, or with
//! the right response, and never with a wrong one.

use tpm_tis::model::{Faults, Level, Traits};

use crate::helpers::*;

#[test]
fn a_dead_bus_of_ones() {
    let faults = Faults {
        dead: Some(Level::High),
        ..Faults::default()
    };
    for ((text, took), words) in over_both(Traits::SPI, faults)
        .into_iter()
        .zip(["TPM_DID_VID reads 0xffffffff", "acknowledged no access"])
    {
        assert!(text.contains(words), "{text}");
        assert!(took <= SECOND, "{took:?}");
    }
}

#[test]
fn a_dead_bus_of_zeros() {
    let faults = Faults {
        dead: Some(Level::Low),
        ..Faults::default()
    };
    for ((text, took), words) in over_both(Traits::SPI, faults)
        .into_iter()
        .zip(["held a wait state", "TPM_DID_VID reads 0x00000000"])
    {
        assert!(text.contains(words), "{text}");
        assert!(took <= 100 * MS, "{took:?}");
    }
}

#[test]
fn wait_states_without_end() {
    let chip = chip(
        Traits {
            wait_bytes: usize::MAX,
            ..Traits::SPI
        },
        Faults::default(),
    );
    let begun = chip.now();
    let error = spi(&chip).open().expect_err("no end").to_string();
    assert!(
        error.contains("wait state at TPM_DID_VID for 30"),
        "{error}"
    );
    assert!(chip.now() - begun < 40 * MS);
}

#[test]
fn a_burst_count_of_0_for_ever() {
    let faults = Faults {
        no_burst: true,
        ..Faults::default()
    };
    ends(faults, "its burst count should not be 0", 900 * MS);
}

#[test]
fn a_chip_that_is_never_ready() {
    let faults = Faults {
        never_ready: true,
        ..Faults::default()
    };
    ends(faults, "its bits 0x40 should be 0x40", 4100 * MS);
}

#[test]
fn valid_that_is_never_set() {
    let faults = Faults {
        never_valid: true,
        ..Faults::default()
    };
    // Three tries where there are checksums.
    ends(faults, "its bits 0x88 should be 0x88", 700 * MS);
}

#[test]
fn expect_that_stays_set() {
    let faults = Faults {
        expect_stuck: true,
        ..Faults::default()
    };
    ends(faults, "its bits 0x88 should be 0x80", 700 * MS);
}

#[test]
fn expect_that_is_0_before_the_last_byte() {
    let faults = Faults {
        expect_early: true,
        ..Faults::default()
    };
    ends(faults, "its bits 0x88 should be 0x88", 700 * MS);
}

#[test]
fn a_command_that_never_ends() {
    let faults = Faults {
        never_done: true,
        ..Faults::default()
    };
    ends(faults, "no response came in 100", 101 * SECOND);
    // And where the caller would wait for ever.
    let chip = chip(Traits::SPI, faults);
    let mut tpm = spi(&chip);
    tpm.open().expect("it opens");
    tpm.start(&command(20)).expect("sent");
    let error = tpm
        .wait(&mut [0; 64], None)
        .expect_err("no end")
        .to_string();
    assert!(error.contains("after 300"), "{error}");
}

#[test]
fn sizes_that_no_response_has() {
    for size in [0, 6, 9, 4097, u32::MAX] {
        let faults = Faults {
            size: Some(size),
            ..Faults::default()
        };
        ends(faults, &format!("header says {size} bytes"), SECOND);
    }
}

#[test]
fn sizes_above_and_below_what_comes() {
    let faults = Faults {
        size: Some(300),
        cut: Some(250),
        ..Faults::default()
    };
    ends(faults, "ended after 250 of 300 bytes", SECOND);
    let faults = Faults {
        grow: 7,
        ..Faults::default()
    };
    ends(faults, "has more than the 280 bytes", SECOND);
    let faults = Faults {
        cut: Some(4),
        ..Faults::default()
    };
    ends(faults, "ended after 4 of 10 bytes", SECOND);
}

#[test]
fn a_response_of_no_bytes() {
    let faults = Faults {
        cut: Some(0),
        ..Faults::default()
    };
    // It cannot be told from a command that is still executed.
    ends(faults, "no response came in 100", 101 * SECOND);
}

#[test]
fn a_locality_that_is_never_granted() {
    let traits = Traits {
        grant: None,
        ..Traits::SPI
    };
    for (text, took) in over_both(traits, Faults::default()) {
        assert!(text.contains("TPM_ACCESS reads 0x83 after 75"), "{text}");
        assert!(text.contains("its bits 0xa0 should be 0xa0"), "{text}");
        assert!(took <= 800 * MS, "{took:?}");
    }
}

#[test]
fn nacks_without_end() {
    let broken = chip(
        Traits::I2C,
        Faults {
            nack: true,
            ..Faults::default()
        },
    );
    let begun = broken.now();
    let error = i2c(&broken).open().expect_err("no end").to_string();
    assert!(error.contains("acknowledged no access"), "{error}");
    assert!(broken.now() - begun < SECOND);

    // They begin while a command is executed, and the caller waits for ever.
    let chip = chip(
        Traits {
            command: SECOND,
            ..Traits::I2C
        },
        Faults::default(),
    );
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    tpm.start(&command(20)).expect("sent");
    chip.set_faults(Faults {
        nack: true,
        ..Faults::default()
    });
    let error = tpm
        .wait(&mut [0; 64], None)
        .expect_err("no end")
        .to_string();
    assert!(error.contains("TPM_STS for 75"), "{error}");
}

#[test]
fn a_storm_of_nacks_that_passes_delays_and_does_not_fail() {
    let traits = Traits {
        nacks: 500,
        ..Traits::I2C
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    exchange(&mut tpm, 40).expect("the right answer");
}

#[test]
fn a_wrong_checksum_once_and_always() {
    for wrong in [1, 2] {
        let chip = chip(Traits::I2C, Faults::default());
        let mut tpm = i2c(&chip);
        tpm.open().expect("it opens");
        chip.set_faults(Faults {
            wrong_checksums: wrong,
            ..Faults::default()
        });
        exchange(&mut tpm, 100).expect("sent again, the right answer");
        assert_eq!(chip.violations(), [""; 0]);
    }
    let chip = chip(Traits::I2C, Faults::default());
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    chip.set_faults(Faults {
        wrong_checksums: usize::MAX,
        ..Faults::default()
    });
    let error = exchange(&mut tpm, 100)
        .expect_err("always wrong")
        .to_string();
    assert!(error.contains("TPM_DATA_CSUM reads 0x"), "{error}");
    assert!(error.contains("3 times over"), "{error}");
}

#[test]
fn bits_that_change_on_the_wire_change_no_answer_where_there_are_checksums() {
    for flips in 1..=2 {
        let chip = chip(Traits::I2C, Faults::default());
        let mut tpm = i2c(&chip);
        tpm.open().expect("it opens");
        for length in [10, 40, 100, 300] {
            chip.set_faults(Faults {
                flips,
                ..Faults::default()
            });
            exchange(&mut tpm, length).expect("sent again, the right answer");
        }
    }
}

#[test]
fn a_response_that_is_wrong_on_the_wire_is_read_again() {
    let traits = Traits {
        command: 10 * MS,
        ..Traits::I2C
    };
    let chip = chip(traits, Faults::default());
    let mut tpm = i2c(&chip);
    tpm.open().expect("it opens");
    tpm.start(&command(100)).expect("sent");
    chip.set_faults(Faults {
        flips: 2,
        ..Faults::default()
    });
    let mut response = [0; 4096];
    let size = tpm.wait(&mut response, Some(SECOND)).expect("no error");
    assert_eq!(response[..size.expect("it came")], answer(&command(100)));
    assert_eq!(chip.faults().flips, 0, "it was wrong");
}

#[test]
fn a_controller_that_lets_go_of_chip_select() {
    let chip = chip(
        Traits::SPI,
        Faults {
            chip_select_lost: true,
            ..Faults::default()
        },
    );
    let error = spi(&chip).open().expect_err("garbage").to_string();
    assert!(error.contains("TPM_DID_VID reads 0xffffffff"), "{error}");
}

#[test]
fn a_chip_that_vanishes_after_any_number_of_accesses() {
    // A whole command is done within this many.
    for after in 1..80 {
        let faults = Faults {
            vanish_after: Some(after),
            ..Faults::default()
        };
        for (text, took) in over_both(Traits::SPI, faults) {
            assert!(took < 5 * SECOND, "{after}: {took:?}: {text}");
        }
    }
}

#[test]
fn a_chip_that_is_reset_after_any_number_of_accesses_gives_no_wrong_answer() {
    let mut failures = 0;
    for after in 1..80 {
        let faults = Faults {
            reset_after: Some(after),
            ..Faults::default()
        };
        for (text, took) in over_both(Traits::SPI, faults) {
            assert!(took < 5 * SECOND, "{after}: {took:?}: {text}");
            failures += u32::from(text != "passed");
        }
    }
    assert!(failures > 10, "some are in the midst of a command");
}

#[test]
fn after_each_fault_the_next_command_passes_once_it_is_mended() {
    let faults = [
        Faults {
            no_burst: true,
            ..Faults::default()
        },
        Faults {
            never_valid: true,
            ..Faults::default()
        },
        Faults {
            never_ready: true,
            ..Faults::default()
        },
        Faults {
            expect_stuck: true,
            ..Faults::default()
        },
        Faults {
            expect_early: true,
            ..Faults::default()
        },
        Faults {
            never_done: true,
            ..Faults::default()
        },
        Faults {
            size: Some(9),
            ..Faults::default()
        },
        Faults {
            cut: Some(20),
            ..Faults::default()
        },
        Faults {
            grow: 100,
            ..Faults::default()
        },
        Faults {
            dead: Some(Level::High),
            ..Faults::default()
        },
        Faults {
            dead: Some(Level::Low),
            ..Faults::default()
        },
        Faults {
            chip_select_lost: true,
            ..Faults::default()
        },
        Faults {
            nack: true,
            ..Faults::default()
        },
        Faults {
            wrong_checksums: 100,
            ..Faults::default()
        },
    ];
    for fault in faults {
        let on_spi = chip(Traits::SPI, Faults::default());
        let mut tpm = spi(&on_spi);
        tpm.open().expect("it opens");
        on_spi.set_faults(fault);
        let failed = exchange(&mut tpm, 100).is_err();
        assert!(
            failed || fault.nack || fault.wrong_checksums > 0,
            "{fault:?}"
        );
        on_spi.set_faults(Faults::default());
        exchange(&mut tpm, 100).unwrap_or_else(|error| panic!("SPI, {fault:?}: {error}"));

        let on_i2c = chip(Traits::I2C, Faults::default());
        let mut tpm = i2c(&on_i2c);
        tpm.open().expect("it opens");
        on_i2c.set_faults(fault);
        let failed = exchange(&mut tpm, 100).is_err();
        assert!(failed || fault.chip_select_lost, "{fault:?}");
        on_i2c.set_faults(Faults::default());
        exchange(&mut tpm, 100).unwrap_or_else(|error| panic!("I2C, {fault:?}: {error}"));
    }
}
