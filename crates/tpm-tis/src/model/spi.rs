// SPDX-License-Identifier: BSD-2-Clause
//! The chip on SPI, byte by byte: as a link, as embedded-hal's bus and pin, and
//! as its `SpiDevice`.

use std::string::ToString;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, Operation, SpiBus, SpiDevice};

use super::{Chip, Level};
use crate::spi::SpiLink;

/// The time of a byte at 10 MHz.
const BYTE: Duration = Duration::from_nanos(800);
/// Where the TPM's registers begin.
const BASE: u32 = 0xd4;

/// The bus has failed: the device is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpiFault;

impl spi::Error for SpiFault {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

impl digital::Error for SpiFault {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

/// The chip on SPI. Each clone has its own bus state; use [`SpiFace::pair`] for a bus
/// and a pin that belong together.
#[derive(Debug)]
pub struct SpiFace {
    chip: Chip,
    selected: bool,
    header: Vec<u8>,
    /// How many wait bytes are to come.
    waits: usize,
    /// What is read, or was written so far.
    data: Vec<u8>,
    at: usize,
}

impl SpiFace {
    pub(super) fn new(chip: Chip) -> Self {
        Self {
            chip,
            selected: false,
            header: Vec::new(),
            waits: 0,
            data: Vec::new(),
            at: 0,
        }
    }

    /// Returns the face as a bus and a chip select pin.
    pub fn pair(self) -> (ModelBus, ModelPin) {
        let face = std::sync::Arc::new(std::sync::Mutex::new(self));
        (ModelBus(face.clone()), ModelPin(face))
    }

    /// Asserts or releases chip select.
    pub fn select(&mut self, selected: bool) {
        if self.selected && !selected && !self.header.is_empty() && self.header.len() < 4 {
            let told = "chip select was released within a header";
            self.chip.state().violated(told.to_string());
        }
        self.selected = selected;
        self.header.clear();
        self.data.clear();
        self.at = 0;
    }

    /// Exchanges a byte.
    pub fn exchange(&mut self, byte: u8) -> u8 {
        self.chip.state().count_bytes(1, BYTE);
        let (dead, gone) = {
            let state = self.chip.state();
            (state.faults.dead, state.is_gone())
        };
        match dead {
            Some(Level::Low) => return 0,
            Some(Level::High) => return 0xff,
            None if gone => return 0xff,
            None => {}
        }
        if !self.selected {
            return 0xff;
        }
        if self.header.len() < 4 {
            return self.head(byte);
        }
        if self.waits > 0 {
            if self.waits != usize::MAX {
                self.waits -= 1;
            }
            return u8::from(self.waits == 0);
        }
        self.body(byte)
    }

    /// Exchanges a byte of the header.
    fn head(&mut self, byte: u8) -> u8 {
        self.header.push(byte);
        if self.header.len() < 4 {
            return 0;
        }
        self.waits = self.chip.state().traits.wait_bytes;
        self.data = vec![0; self.length()];
        let answer = u8::from(self.waits == 0);
        if self.is_read() {
            match self.place() {
                Some((locality, address)) => self.chip.read(locality, address, &mut self.data),
                None => self.data.fill(0xff),
            }
        }
        if self.chip.state().faults.chip_select_lost {
            self.select(false);
        }
        answer
    }

    /// Exchanges a byte of the data.
    fn body(&mut self, byte: u8) -> u8 {
        let is_read = self.is_read();
        let Some(place) = self.data.get_mut(self.at) else {
            return 0xff;
        };
        self.at += 1;
        if is_read {
            return *place;
        }
        *place = byte;
        if self.at == self.data.len() {
            if let Some((locality, address)) = self.place() {
                self.chip.write(locality, address, &self.data);
            }
        }
        0
    }

    fn is_read(&self) -> bool {
        self.header[0] & 0x80 != 0
    }

    fn length(&self) -> usize {
        usize::from(self.header[0] & 0x3f) + 1
    }

    /// Returns the locality and the register in the header.
    fn place(&mut self) -> Option<(u8, u16)> {
        let [_, base, high, low] = *self.header else {
            return None;
        };
        let locality = high >> 4;
        if u32::from(base) != BASE || locality > 4 {
            let told = std::format!("an access to 0x{base:02x}{high:02x}{low:02x}");
            self.chip.state().violated(told);
            return None;
        }
        Some((locality, u16::from_be_bytes([high & 0xf, low])))
    }

    fn exchange_all(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.exchange(*byte);
        }
    }
}

impl SpiLink for SpiFace {
    type Error = SpiFault;

    fn begin(&mut self) -> Result<(), SpiFault> {
        self.select(true);
        Ok(())
    }

    fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), SpiFault> {
        self.exchange_all(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), SpiFault> {
        self.select(false);
        Ok(())
    }
}

impl spi::ErrorType for SpiFace {
    type Error = SpiFault;
}

impl SpiDevice for SpiFace {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpiFault> {
        self.select(true);
        for operation in operations {
            match operation {
                Operation::TransferInPlace(bytes) => self.exchange_all(bytes),
                Operation::Read(bytes) => {
                    bytes.fill(0);
                    self.exchange_all(bytes);
                }
                Operation::Write(bytes) => self.exchange_all(&mut bytes.to_vec()),
                Operation::Transfer(read, write) => {
                    let length = read.len().max(write.len());
                    let mut all = write.to_vec();
                    all.resize(length, 0);
                    self.exchange_all(&mut all);
                    read.copy_from_slice(&all[..read.len()]);
                }
                Operation::DelayNs(ns) => {
                    let time = Duration::from_nanos((*ns).into());
                    self.chip.state().pass(time);
                }
            }
        }
        self.select(false);
        Ok(())
    }
}

type Shared = std::sync::Arc<std::sync::Mutex<SpiFace>>;

/// The chip's bus, beside a [`ModelPin`].
#[derive(Clone, Debug)]
pub struct ModelBus(Shared);

/// The chip select pin of a [`ModelBus`].
#[derive(Clone, Debug)]
pub struct ModelPin(Shared);

fn face(shared: &Shared) -> std::sync::MutexGuard<'_, SpiFace> {
    shared
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl digital::ErrorType for ModelPin {
    type Error = SpiFault;
}

impl OutputPin for ModelPin {
    fn set_low(&mut self) -> Result<(), SpiFault> {
        face(&self.0).select(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), SpiFault> {
        face(&self.0).select(false);
        Ok(())
    }
}

impl spi::ErrorType for ModelBus {
    type Error = SpiFault;
}

impl SpiBus for ModelBus {
    fn read(&mut self, words: &mut [u8]) -> Result<(), SpiFault> {
        words.fill(0);
        self.transfer_in_place(words)
    }

    fn write(&mut self, words: &[u8]) -> Result<(), SpiFault> {
        self.transfer_in_place(&mut words.to_vec())
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), SpiFault> {
        let mut all = write.to_vec();
        all.resize(read.len().max(write.len()), 0);
        self.transfer_in_place(&mut all)?;
        read.copy_from_slice(&all[..read.len()]);
        Ok(())
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), SpiFault> {
        face(&self.0).exchange_all(words);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpiFault> {
        Ok(())
    }
}
