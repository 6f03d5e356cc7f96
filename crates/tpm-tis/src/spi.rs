// SPDX-License-Identifier: BSD-2-Clause
//! The bus SPI: a header of four bytes, wait states, up to 64 data bytes.
//!
//! The header is a direction bit with the number of data bytes less one, and three
//! address bytes. If the chip needs time, bit 0 of the byte that it sends during the
//! last address byte is 0. Then single bytes are clocked, with chip select asserted,
//! until bit 0 is 1. Some chips always wait, some never do. The bus has mode 0.

use core::fmt::Debug;

use embedded_hal::digital::OutputPin;
use embedded_hal::spi::{SpiBus, SpiDevice};

use crate::bus::{Bus, Fault};
use crate::registers::{Register, SPI_BASE, SPI_MOST};
use crate::time::{Clock, Timeouts, since};

/// The length of the header in bytes.
const HEADER: usize = 4;
/// The direction bit of a read.
const READ: u8 = 0x80;

/// How many bytes of a wait state are clocked at least, whatever the time.
const FEWEST_WAIT: u32 = 64;

/// Transfers with chip select held from `begin` to `end`.
pub trait SpiLink {
    /// What a transfer fails with.
    type Error: Debug;

    /// Asserts chip select.
    ///
    /// # Errors
    /// The bus's own.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Writes `bytes`, and replaces them by the bytes that were read at the same time.
    ///
    /// # Errors
    /// The bus's own.
    fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Releases chip select. It is called after a failure, too.
    ///
    /// # Errors
    /// The bus's own.
    fn end(&mut self) -> Result<(), Self::Error>;

    /// Transfers the last bytes and releases chip select, for buses that can do both in
    /// one call.
    ///
    /// # Errors
    /// The bus's own.
    fn finish(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.transfer(bytes)?;
        self.end()
    }
}

/// A TPM's registers over SPI.
#[derive(Clone, Debug)]
pub struct Spi<L> {
    link: L,
    /// How long a wait state may be.
    wait: core::time::Duration,
}

impl<L: SpiLink> Spi<L> {
    /// Returns the registers of the chip at the other end of `link`.
    pub const fn new(link: L) -> Self {
        Self {
            link,
            wait: Timeouts::PROFILE.d,
        }
    }

    /// Returns the link.
    pub const fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    fn exchange(
        &mut self,
        clock: &mut dyn Clock,
        mut header: [u8; HEADER],
        bytes: &mut [u8],
    ) -> Result<(), Fault<L::Error>> {
        self.link.begin()?;
        self.link.transfer(&mut header)?;
        let mut ready = header[HEADER - 1];
        if ready & 1 == 0 {
            let begun = clock.now();
            let mut bytes = 0;
            while ready & 1 == 0 {
                let waited = since(clock, begun);
                // A program that was kept from running has given the chip no clock.
                if waited >= self.wait && bytes >= FEWEST_WAIT {
                    return Err(Fault::WaitState(waited));
                }
                let mut byte = [0];
                self.link.transfer(&mut byte)?;
                ready = byte[0];
                bytes += 1;
            }
        }
        Ok(self.link.finish(bytes)?)
    }

    fn access(
        &mut self,
        clock: &mut dyn Clock,
        header: [u8; HEADER],
        bytes: &mut [u8],
    ) -> Result<(), Fault<L::Error>> {
        let result = self.exchange(clock, header, bytes);
        if result.is_err() {
            // The access failed. A failure to release chip select adds nothing to that
            // error.
            let _ = self.link.end();
        }
        result
    }
}

impl<L: SpiLink> Bus for Spi<L> {
    type Error = L::Error;
    const CHECKSUM: bool = false;

    fn forget(&mut self) {
        // Another program may have left chip select asserted. That it cannot be
        // released shows at the next access.
        let _ = self.link.end();
    }

    fn most(&self) -> usize {
        SPI_MOST
    }

    fn read(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<L::Error>> {
        let header = header(READ, locality, register, bytes.len()).ok_or(Fault::NoRegister)?;
        bytes.fill(0);
        self.access(clock, header, bytes)
    }

    fn write(
        &mut self,
        clock: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<L::Error>> {
        let header = header(0, locality, register, bytes.len()).ok_or(Fault::NoRegister)?;
        // What comes in goes here, and is nothing.
        let mut copy = [0; SPI_MOST];
        let copy = &mut copy[..bytes.len()];
        copy.copy_from_slice(bytes);
        self.access(clock, header, copy)
    }
}

/// Returns the header of an access; `None` if SPI has no such register or
/// no such length.
fn header(direction: u8, locality: u8, register: Register, length: usize) -> Option<[u8; HEADER]> {
    if !(1..=SPI_MOST).contains(&length) {
        return None;
    }
    let address = SPI_BASE | u32::from(locality) << 12 | u32::from(register.spi()?);
    let [_, high, middle, low] = address.to_be_bytes();
    Some([direction | (length - 1) as u8, high, middle, low])
}

/// A bus with a chip select pin, which only the TPM uses.
#[derive(Clone, Debug)]
pub struct PinLink<S, P> {
    bus: S,
    chip_select: P,
}

impl<S: SpiBus, P: OutputPin> PinLink<S, P> {
    /// Returns a link over `bus` (mode 0, 10 to 24 MHz or what the board
    /// allows), with `chip_select` low while it is in use.
    pub const fn new(bus: S, chip_select: P) -> Self {
        Self { bus, chip_select }
    }

    /// Returns the bus and the pin.
    pub fn into_parts(self) -> (S, P) {
        (self.bus, self.chip_select)
    }
}

/// The error of a [`PinLink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError<S, P> {
    /// The bus failed.
    Spi(S),
    /// The chip select pin failed.
    Pin(P),
}

impl<S: SpiBus, P: OutputPin> SpiLink for PinLink<S, P> {
    type Error = PinError<S::Error, P::Error>;

    fn begin(&mut self) -> Result<(), Self::Error> {
        self.chip_select.set_low().map_err(PinError::Pin)
    }

    fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.bus.transfer_in_place(bytes).map_err(PinError::Spi)?;
        // The next byte depends on these, and so does the end of chip select.
        self.bus.flush().map_err(PinError::Spi)
    }

    fn end(&mut self) -> Result<(), Self::Error> {
        self.chip_select.set_high().map_err(PinError::Pin)
    }
}

/// A TPM's registers over embedded-hal's `SpiDevice`. It is **degraded**: a transaction
/// is fixed before it begins, so the driver cannot read the header's last byte and
/// clock a wait state.
///
/// - A read clocks `wait` bytes more than it needs, and looks among them for
///   the end of the wait state.
/// - A write to a chip that waits fails with [`Fault::WaitState`] and has
///   changed nothing. So this serves only chips that never wait on writes.
///
/// [`PinLink`] has no such limits. Use it if only the TPM is on the bus.
#[derive(Clone, Debug)]
pub struct DegradedSpi<D> {
    device: D,
    wait: usize,
}

/// The most bytes that a [`DegradedSpi`] can clock for a wait state.
const MOST_WAIT: usize = 16;

impl<D: SpiDevice> DegradedSpi<D> {
    /// Returns the registers over `device`. Reads allow wait states of up to `wait`
    /// bytes (0 to 16).
    pub fn new(device: D, wait: usize) -> Self {
        Self {
            device,
            wait: wait.min(MOST_WAIT),
        }
    }

    /// Returns the device.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: SpiDevice> Bus for DegradedSpi<D> {
    type Error = D::Error;
    const CHECKSUM: bool = false;

    fn most(&self) -> usize {
        SPI_MOST
    }

    fn read(
        &mut self,
        _: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<D::Error>> {
        let header = header(READ, locality, register, bytes.len()).ok_or(Fault::NoRegister)?;
        let mut buffer = [0; HEADER + MOST_WAIT + SPI_MOST];
        buffer[..HEADER].copy_from_slice(&header);
        let buffer = &mut buffer[..HEADER + self.wait + bytes.len()];
        self.device.transfer_in_place(buffer)?;
        let waits = buffer[HEADER - 1..HEADER + self.wait].iter();
        let waited = waits.take_while(|byte| **byte & 1 == 0).count();
        let data = buffer.get(HEADER + waited..HEADER + waited + bytes.len());
        let data = data.ok_or(Fault::WaitState(core::time::Duration::ZERO))?;
        bytes.copy_from_slice(data);
        Ok(())
    }

    fn write(
        &mut self,
        _: &mut dyn Clock,
        locality: u8,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<D::Error>> {
        let header = header(0, locality, register, bytes.len()).ok_or(Fault::NoRegister)?;
        let mut buffer = [0; HEADER + SPI_MOST];
        let buffer = &mut buffer[..HEADER + bytes.len()];
        buffer[..HEADER].copy_from_slice(&header);
        buffer[HEADER..].copy_from_slice(bytes);
        self.device.transfer_in_place(buffer)?;
        match buffer[HEADER - 1] & 1 {
            1 => Ok(()),
            _ => Err(Fault::WaitState(core::time::Duration::ZERO)),
        }
    }
}
