// SPDX-License-Identifier: BSD-2-Clause
//! The bus I2C: register pointers, guard times, NACKs and the choice of locality.
//!
//! A read writes the register's address, stops, and reads. Chips may refuse a repeated
//! start, so the driver makes one only if it was asked to. Between two transfers it
//! waits for the chip's guard time, and for 250 us until that time is known.

use core::time::Duration;

use embedded_hal::i2c::{Error as _, ErrorKind, I2c as HalI2c, Operation};

use crate::bus::{Bus, Fault};
use crate::registers::{
    I2C_ADDRESS, I2C_CAPABILITY_ZERO, I2C_GUARD_READ_READ, I2C_GUARD_READ_WRITE,
    I2C_GUARD_REPEATED_START, I2C_GUARD_TIME_SHIFT, I2C_GUARD_WRITE_READ, I2C_GUARD_WRITE_WRITE,
    Register,
};
use crate::time::{Clock, delay};

/// The guard time of a chip that was not asked yet, and after a NACK.
const FIRST_GUARD: Duration = Duration::from_micros(250);
/// The capability that a chip is thought to have before it was asked.
const CAREFUL: u32 = 250 << I2C_GUARD_TIME_SHIFT
    | I2C_GUARD_WRITE_WRITE
    | I2C_GUARD_WRITE_READ
    | I2C_GUARD_READ_WRITE
    | I2C_GUARD_READ_READ
    | I2C_GUARD_REPEATED_START;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// A TPM's registers over I2C.
#[derive(Clone, Debug)]
pub struct I2c<T> {
    i2c: T,
    address: u8,
    repeated_start: bool,
    most: usize,
    capability: u32,
    /// The direction and the end of the last transfer.
    last: Option<(Direction, Duration)>,
    /// The time before which nothing is sent, after a NACK.
    not_before: Duration,
    /// The locality that TPM_LOC_SEL has; `None` if it may be another.
    selected: Option<u8>,
    /// The register whose address was written and whose read the chip refused:
    /// only the read is made again. A chip that refuses each first transfer
    /// would never be read otherwise.
    pointed: Option<Register>,
}

impl<T: HalI2c> I2c<T> {
    /// Returns the registers of the chip at the usual address, 0x2e.
    pub const fn new(i2c: T) -> Self {
        Self {
            i2c,
            address: I2C_ADDRESS,
            repeated_start: false,
            most: u16::MAX as usize,
            capability: CAREFUL,
            last: None,
            not_before: Duration::ZERO,
            selected: None,
            pointed: None,
        }
    }

    /// Sets another address of 7 bits.
    pub const fn address(mut self, address: u8) -> Self {
        self.address = address;
        self
    }

    /// Sets whether a read uses a repeated start, if the chip needs no guard time
    /// there.
    pub const fn repeated_start(mut self, yes: bool) -> Self {
        self.repeated_start = yes;
        self
    }

    /// Limits an access to `most` data bytes (1 or more), for controllers with
    /// a small buffer. By default the chip's burst count is the only limit.
    pub const fn most_bytes(mut self, most: usize) -> Self {
        self.most = if most == 0 { 1 } else { most };
        self
    }

    /// Returns the bus.
    pub const fn i2c_mut(&mut self) -> &mut T {
        &mut self.i2c
    }

    /// Waits until a transfer in this direction may begin.
    fn guard(&mut self, clock: &mut dyn Clock, next: Direction) {
        let now = clock.now();
        let mut from = self.not_before;
        if let Some((last, ended)) = self.last {
            let flag = match (last, next) {
                (Direction::Write, Direction::Write) => I2C_GUARD_WRITE_WRITE,
                (Direction::Write, Direction::Read) => I2C_GUARD_WRITE_READ,
                (Direction::Read, Direction::Write) => I2C_GUARD_READ_WRITE,
                (Direction::Read, Direction::Read) => I2C_GUARD_READ_READ,
            };
            if self.capability & flag != 0 {
                let time = self.capability >> I2C_GUARD_TIME_SHIFT & 0xff;
                from = from.max(ended + Duration::from_micros(time.into()));
            }
        }
        if from > now {
            // No guard time is longer, even if the clock has jumped.
            delay(clock, (from - now).min(FIRST_GUARD * 2));
        }
    }

    /// Ends a transfer.
    fn done(
        &mut self,
        clock: &mut dyn Clock,
        direction: Direction,
        result: Result<(), T::Error>,
    ) -> Result<(), Fault<T::Error>> {
        let now = clock.now();
        self.last = Some((direction, now));
        result.map_err(|error| {
            match error.kind() {
                ErrorKind::NoAcknowledge(_) => {
                    self.not_before = now + FIRST_GUARD;
                    Fault::Busy
                }
                _ => {
                    // The chip may have been reset, and its locality with it.
                    self.selected = None;
                    self.pointed = None;
                    Fault::Bus(error)
                }
            }
        })
    }

    fn select(&mut self, clock: &mut dyn Clock, locality: u8) -> Result<(), Fault<T::Error>> {
        if self.selected != Some(locality) {
            self.selected = None;
            self.put(clock, Register::LocalitySelect, &[locality])?;
            self.selected = Some(locality);
        }
        Ok(())
    }

    fn put(
        &mut self,
        clock: &mut dyn Clock,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<T::Error>> {
        self.pointed = None;
        self.guard(clock, Direction::Write);
        let address = [register.i2c()];
        let mut whole = [Operation::Write(&address), Operation::Write(bytes)];
        let result = self.i2c.transaction(self.address, &mut whole);
        self.done(clock, Direction::Write, result)
    }

    fn get(
        &mut self,
        clock: &mut dyn Clock,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<T::Error>> {
        let address = [register.i2c()];
        if self.repeated_start && self.capability & I2C_GUARD_REPEATED_START == 0 {
            self.guard(clock, Direction::Write);
            let result = self.i2c.write_read(self.address, &address, bytes);
            return self.done(clock, Direction::Read, result);
        }
        if self.pointed.take() != Some(register) {
            self.guard(clock, Direction::Write);
            let result = self.i2c.write(self.address, &address);
            self.done(clock, Direction::Write, result)?;
        }
        self.pointed = Some(register);
        self.guard(clock, Direction::Read);
        let result = self.i2c.read(self.address, bytes);
        self.done(clock, Direction::Read, result)?;
        self.pointed = None;
        Ok(())
    }
}

impl<T: HalI2c> Bus for I2c<T> {
    type Error = T::Error;
    const CHECKSUM: bool = true;

    fn open(&mut self, clock: &mut dyn Clock) -> Result<(), Fault<T::Error>> {
        self.selected = None;
        self.capability = CAREFUL;
        let mut value = [0; 4];
        self.get(clock, Register::I2cInterfaceCapability, &mut value)?;
        let value = u32::from_le_bytes(value);
        if value & I2C_CAPABILITY_ZERO == 0 && value != 0 {
            self.capability = value;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.selected = None;
        self.pointed = None;
    }

    fn most(&self) -> usize {
        self.most
    }

    fn read(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<T::Error>> {
        self.select(clock, locality)?;
        self.get(clock, register, bytes)
    }

    fn write(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<T::Error>> {
        self.select(clock, locality)?;
        self.put(clock, register, bytes)
    }
}
