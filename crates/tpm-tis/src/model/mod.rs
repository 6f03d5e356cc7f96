// SPDX-License-Identifier: BSD-2-Clause
//! A simulated chip on SPI and on I2C, with every fault that a driver must survive. It
//! needs the feature `model`, and std.
//!
//! ```
//! use tpm_tis::model::{Chip, Faults, Traits};
//! use tpm_tis::{Spi, Tis};
//!
//! let success = |_: &[u8]| vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
//! let chip = Chip::new(success, Traits::SPI, Faults::default());
//! let mut tpm = Tis::new(Spi::new(chip.spi()), chip.clock());
//! tpm.open()?;
//! let startup = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
//! assert_eq!(tpm.execute(&startup, &mut [0; 64], None)?, 10);
//! assert_eq!(chip.violations(), [""; 0]); // what the profile forbids
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Time is virtual: it passes with each byte on the bus and each delay, so that
//! a wait of five minutes is over at once.
//!
//! [`try_any_registers`] tests the driver with a chip that does anything.

mod any;
mod chip;
mod fifo;
mod i2c;
mod registers;
mod spi;

use std::boxed::Box;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::vec::Vec;

use embedded_hal::delay::DelayNs;

pub use any::try_any_registers;
pub use chip::Counts;
pub use i2c::{I2cFace, I2cFault};
pub use spi::{SpiFace, SpiFault};

use crate::time::Clock;
use chip::State;

/// The TPM behind the chip: a command in, its response out.
pub type Tpm = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// Asks that TPM to cancel its command.
pub type CancelTpm = Box<dyn Fn() + Send>;

/// The level of a bus that is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All zeros.
    Low,
    /// All ones.
    High,
}

/// The properties in which correct chips differ.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// How many bytes the FIFO takes or gives at once.
    pub burst: usize,
    /// How many bytes each SPI access waits for, `usize::MAX` for ever.
    pub wait_bytes: usize,
    /// How long the chip takes to grant a locality; `None` for ever.
    pub grant: Option<Duration>,
    /// How long the chip takes to become ready.
    pub ready: Duration,
    /// How long a command takes.
    pub command: Duration,
    /// How long VALID is 0 after each FIFO access.
    pub valid: Duration,
    /// How long the burst count is 0 after each FIFO access.
    pub burst_zero: Duration,
    /// Whether the chip is idle after a response, and needs commandReady once more.
    pub goes_idle: bool,
    /// The I2C guard time in microseconds, after every transfer.
    pub guard: u8,
    /// How many I2C transfers after each access are refused by NACK.
    pub nacks: usize,
    /// Whether the chip refuses a repeated start.
    pub refuses_repeated_start: bool,
    /// Whether the chip computes checksums, on I2C.
    pub checksum: bool,
}

impl Traits {
    /// A quick chip on SPI.
    pub const SPI: Self = Self {
        burst: 64,
        wait_bytes: 0,
        grant: Some(Duration::ZERO),
        ready: Duration::ZERO,
        command: Duration::ZERO,
        valid: Duration::ZERO,
        burst_zero: Duration::ZERO,
        goes_idle: true,
        guard: 0,
        nacks: 0,
        refuses_repeated_start: false,
        checksum: false,
    };

    /// A quick chip on I2C that makes every demand that a chip may make.
    pub const I2C: Self = Self {
        burst: 32,
        guard: 100,
        refuses_repeated_start: true,
        checksum: true,
        ..Self::SPI
    };
}

/// The faults of a chip; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The bus is stuck at this level.
    pub dead: Option<Level>,
    /// The chip vanishes after this many accesses.
    pub vanish_after: Option<u64>,
    /// The chip is reset once, after this many accesses.
    pub reset_after: Option<u64>,
    /// The burst count is 0 for ever.
    pub no_burst: bool,
    /// VALID is 0 for ever.
    pub never_valid: bool,
    /// Expect stays 1.
    pub expect_stuck: bool,
    /// Expect is 0 before the last byte of a command.
    pub expect_early: bool,
    /// commandReady stays 0.
    pub never_ready: bool,
    /// The command never ends.
    pub never_done: bool,
    /// The header of each response has this size.
    pub size: Option<u32>,
    /// Each response has only this many bytes.
    pub cut: Option<usize>,
    /// Each response has this many bytes more.
    pub grow: usize,
    /// Each I2C transfer is refused by NACK.
    pub nack: bool,
    /// This many of the next commands and responses have a bit changed on the wire.
    pub flips: usize,
    /// This many of the next checksums are wrong.
    pub wrong_checksums: usize,
    /// The controller releases chip select after the header.
    pub chip_select_lost: bool,
    /// ACCESS always reads VALID, and never an active locality.
    pub access_always_valid: bool,
}

/// A simulated chip. Its clones are the same chip.
#[derive(Clone)]
pub struct Chip(Arc<Mutex<State>>);

impl std::fmt::Debug for Chip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chip").finish_non_exhaustive()
    }
}

impl Chip {
    /// Returns a chip, just powered, with `tpm` behind it, in virtual time.
    pub fn new(
        tpm: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
        traits: Traits,
        faults: Faults,
    ) -> Self {
        let state = State::new(Box::new(tpm), traits, faults, None);
        Self(Arc::new(Mutex::new(state)))
    }

    /// Returns a chip as [`new`](Self::new) does, in real time.
    pub fn in_real_time(
        tpm: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
        traits: Traits,
        faults: Faults,
    ) -> Self {
        let state = State::new(Box::new(tpm), traits, faults, Some(Instant::now()));
        Self(Arc::new(Mutex::new(state)))
    }

    /// Passes a cancel on to the TPM by `cancel`; the TPM's answer is then the
    /// response. Without this, the chip answers TPM_RC_CANCELED itself.
    pub fn on_cancel(&self, cancel: CancelTpm) {
        self.state().cancel = Some(cancel);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the chip's SPI face.
    pub fn spi(&self) -> SpiFace {
        SpiFace::new(self.clone())
    }

    /// Returns the chip's I2C face.
    pub fn i2c(&self) -> I2cFace {
        I2cFace::new(self.clone())
    }

    /// Returns the chip's clock.
    pub fn clock(&self) -> ModelClock {
        ModelClock(self.clone())
    }

    /// Returns the time of that clock.
    pub fn now(&self) -> Duration {
        self.state().now()
    }

    /// Returns the violations of the profile, each as a sentence.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Returns the counts of accesses and bytes, and sets them to zero.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.state().counts)
    }

    /// Sets the faults of the chip.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Sets the properties of the chip.
    pub fn set_traits(&self, traits: Traits) {
        self.state().traits = traits;
    }

    /// Returns the present faults; those that are limited in number were counted down.
    pub fn faults(&self) -> Faults {
        self.state().faults
    }

    /// Resets the chip, as if its power had failed; the TPM behind it goes on.
    pub fn reset(&self) {
        self.state().reset();
    }

    /// Returns whether the chip is idle or ready: no command, no response.
    pub fn is_at_rest(&self) -> bool {
        self.state().is_at_rest()
    }

    /// Returns the active locality.
    pub fn active_locality(&self) -> Option<u8> {
        self.state().active()
    }

    /// Reads a register by its SPI address within a locality.
    pub fn read(&self, locality: u8, address: u16, bytes: &mut [u8]) {
        self.state().read(locality, address, bytes);
    }

    /// Writes a register by its SPI address within a locality.
    pub fn write(&self, locality: u8, address: u16, bytes: &[u8]) {
        self.state().write(locality, address, bytes);
    }
}

/// The clock of a simulated chip.
#[derive(Clone, Debug)]
pub struct ModelClock(Chip);

impl DelayNs for ModelClock {
    fn delay_ns(&mut self, ns: u32) {
        let time = Duration::from_nanos(ns.into());
        let is_real = self.0.state().pass(time);
        if is_real {
            std::thread::sleep(time);
        }
    }
}

impl Clock for ModelClock {
    fn now(&mut self) -> Duration {
        self.0.now()
    }
}
