// SPDX-License-Identifier: BSD-2-Clause
//! The bus below the state machine: reads and writes of registers.

use crate::registers::Register;
use crate::time::Clock;

/// Reads and writes of a chip's registers.
pub trait Bus {
    /// What the bus itself fails with.
    type Error: core::fmt::Debug;

    /// Whether the chip has the registers TPM_DATA_CSUM and TPM_DATA_CSUM_ENABLE.
    const CHECKSUM: bool;

    /// Reads the properties of the chip that the bus needs, before the first access.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    fn open(&mut self, clock: &mut dyn Clock) -> Result<(), Fault<Self::Error>> {
        let _ = clock;
        Ok(())
    }

    /// Leaves the bus at rest, and drops what may have changed if the chip was reset or
    /// used by another program, such as the selected locality.
    fn forget(&mut self) {}

    /// Returns how many bytes one access may have at most, 1 or more.
    fn most(&self) -> usize;

    /// Reads a register of a locality: as many bytes as `bytes` has.
    ///
    /// # Errors
    /// A [`Fault`]; `bytes` may have changed then.
    fn read(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<Self::Error>>;

    /// Writes a register of a locality.
    ///
    /// # Errors
    /// A [`Fault`].
    fn write(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<Self::Error>>;
}

/// The reason why an access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The chip is busy (a NACK on I2C): the driver repeats the access later.
    Busy,
    /// An SPI wait state did not end in this time.
    WaitState(core::time::Duration),
    /// The bus does not have this register.
    NoRegister,
    /// The bus failed.
    Bus(E),
}

impl<E> From<E> for Fault<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}
