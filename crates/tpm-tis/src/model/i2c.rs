// SPDX-License-Identifier: BSD-2-Clause
//! The chip on I2C: register pointer, locality, guard times, NACKs.

use std::format;
use std::string::ToString;
use std::time::Duration;
use std::vec::Vec;

use embedded_hal::i2c::{self, I2c, NoAcknowledgeSource, Operation};

use super::{Chip, Level, registers};

/// The time of a byte at 400 kHz.
const BYTE: Duration = Duration::from_nanos(22_500);
const ADDRESS: u8 = 0x2e;

/// The reason why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum I2cFault {
    /// The address was not acknowledged.
    Nack,
    /// The device is gone.
    Gone,
}

impl i2c::Error for I2cFault {
    fn kind(&self) -> i2c::ErrorKind {
        match self {
            Self::Nack => i2c::ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Gone => i2c::ErrorKind::Other,
        }
    }
}

/// The chip on I2C.
#[derive(Debug)]
pub struct I2cFace {
    chip: Chip,
    /// The register that the next read is of.
    pointer: Option<u8>,
    locality: u8,
    /// When the last transfer ended.
    ended: Option<Duration>,
    /// How many NACKs are still to come.
    nacks: usize,
}

impl I2cFace {
    pub(super) fn new(chip: Chip) -> Self {
        Self {
            chip,
            pointer: None,
            // A stale one, of a program that died.
            locality: 3,
            ended: None,
            nacks: 0,
        }
    }

    /// Writes bytes to the device at an address: the register, and its value.
    ///
    /// # Errors
    /// [`I2cFault`].
    pub fn write_transfer(&mut self, address: u8, bytes: &[u8]) -> Result<(), I2cFault> {
        self.begin(address, bytes.len())?;
        let (register, value) = match bytes {
            [] => return Ok(()),
            [register, value @ ..] => (*register, value),
        };
        self.pointer = Some(register);
        if !value.is_empty() {
            match (register, registers::of_i2c(register)) {
                (0, _) => self.locality = value[0],
                (_, Some(place)) => self.chip.write(self.locality, place, value),
                (_, None) => self.unknown(register),
            }
        }
        self.end();
        Ok(())
    }

    /// Reads bytes of the register that was written last.
    ///
    /// # Errors
    /// [`I2cFault`].
    pub fn read_transfer(&mut self, address: u8, bytes: &mut [u8]) -> Result<(), I2cFault> {
        self.begin(address, bytes.len())?;
        let register = self.pointer.unwrap_or(0xff);
        bytes.fill(0xff);
        match (register, registers::of_i2c(register)) {
            (0, _) => bytes.fill(self.locality),
            (_, Some(place)) => self.chip.read(self.locality, place, bytes),
            (_, None) => self.unknown(register),
        }
        self.end();
        Ok(())
    }

    fn unknown(&self, register: u8) {
        let told = format!("an access to register 0x{register:02x}");
        self.chip.state().violated(told);
    }

    /// Begins a transfer, which the chip may refuse.
    fn begin(&mut self, address: u8, bytes: usize) -> Result<(), I2cFault> {
        let mut state = self.chip.state();
        state.count_bytes(1, BYTE);
        if address != ADDRESS || state.faults.nack {
            return Err(I2cFault::Nack);
        }
        if state.is_gone() {
            return Err(I2cFault::Gone);
        }
        match state.faults.dead {
            // Nothing pulls a line down: no acknowledge.
            Some(Level::High) => return Err(I2cFault::Nack),
            Some(Level::Low) | None => {}
        }
        if self.nacks > 0 {
            self.nacks -= 1;
            return Err(I2cFault::Nack);
        }
        let guard = Duration::from_micros(state.traits.guard.into());
        if self.ended.is_some_and(|ended| state.now() < ended + guard) {
            state.violated("a transfer within the guard time".to_string());
        }
        state.count_bytes(bytes, BYTE);
        Ok(())
    }

    fn end(&mut self) {
        let state = self.chip.state();
        self.ended = Some(state.now());
        self.nacks = state.traits.nacks;
    }
}

impl i2c::ErrorType for I2cFace {
    type Error = I2cFault;
}

impl I2c for I2cFace {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), I2cFault> {
        let mut written: Option<Vec<u8>> = None;
        let mut transfers = 0;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    written.get_or_insert_default().extend_from_slice(bytes);
                }
                Operation::Read(bytes) => {
                    if let Some(written) = written.take() {
                        self.write_transfer(address, &written)?;
                        transfers += 1;
                    }
                    if transfers > 0 {
                        self.repeated_start()?;
                    }
                    self.read_transfer(address, bytes)?;
                    transfers += 1;
                }
            }
        }
        match written {
            Some(written) => self.write_transfer(address, &written),
            None => Ok(()),
        }
    }
}

impl I2cFace {
    fn repeated_start(&mut self) -> Result<(), I2cFault> {
        let mut state = self.chip.state();
        if state.traits.refuses_repeated_start {
            state.violated("a repeated start".to_string());
            return Err(I2cFault::Nack);
        }
        // No time passes there, and no guard time holds.
        self.ended = None;
        self.nacks = 0;
        Ok(())
    }
}
