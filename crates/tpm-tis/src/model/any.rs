// SPDX-License-Identifier: BSD-2-Clause
//! Tests the driver with any values of the registers and any failures of the bus. It
//! ends in time, sends the command unchanged or not at all, and returns only a response
//! that the chip gave.

use std::time::Duration;
use std::vec;
use std::vec::Vec;

use embedded_hal::delay::DelayNs;

use crate::registers::{
    Register, STS_COMMAND_READY, STS_DATA_AVAIL, STS_EXPECT, STS_GO, STS_RESPONSE_RETRY, STS_VALID,
    Status,
};
use crate::{Bus, Clock, Fault, Timeouts, Tis, crc16};

/// What STS often is, so that all parts of the driver are reached: ready, more of a
/// command expected, all of it taken, a response, its end.
const STATUS: [u32; 8] = [
    0x40c0,
    0x4088,
    0x4080,
    0x4090,
    0x00ff_ff90,
    0x80,
    0x0100 | 0x0098,
    0x4008,
];

/// How long a command may run here: five minutes are many looks.
const COMMAND: Duration = Duration::from_secs(2);
/// How long three commands may take: that, and a while for each access that the bus
/// refuses.
const LIMIT: Duration = Duration::from_secs(3 * (2 + 100));

/// Opens a chip whose registers and faults follow `bytes`, repeated without end, and
/// executes a command of `length` bytes (10 or more) three times. An access has at most
/// `most` bytes, and the buffer for the response has `room` bytes.
///
/// # Panics
/// If the driver breaks a promise.
pub fn try_any_registers(bytes: &[u8], most: usize, length: usize, room: usize) {
    let command = command(length);
    let mut response = vec![0; room];
    let mut clock = Virtual(Duration::ZERO);
    let timeouts = Timeouts {
        command: COMMAND,
        ..Timeouts::PROFILE
    };
    let chip = AnyChip::new(bytes, most, &command);
    let mut tpm = Tis::new(chip, &mut clock).timeouts(timeouts);
    let _ = tpm.open();
    for _ in 0..3 {
        if let Ok(size) = tpm.execute(&command, &mut response, None) {
            tpm.bus_mut().judge(&response[..size]);
        }
    }
    drop(tpm);
    assert!(clock.0 < LIMIT, "{:?}", clock.0);
}

/// A chip that does anything, and keeps what was said to it and by it.
struct AnyChip<'a> {
    input: &'a [u8],
    at: usize,
    most: usize,
    command: Vec<u8>,
    /// The bytes written to the FIFO since the last commandReady, and whether they
    /// run as a command.
    taken: Vec<u8>,
    is_running: bool,
    /// The bytes read from the FIFO since the last go or responseRetry.
    given: Vec<u8>,
    /// What STS and the checksum showed last, and whether checksums are on.
    status: u32,
    checksum: Option<u16>,
    checksums: bool,
    /// What a response was when the driver made the chip idle behind it.
    whole: Vec<u8>,
    is_whole: bool,
}

impl<'a> AnyChip<'a> {
    fn new(input: &'a [u8], most: usize, command: &[u8]) -> Self {
        Self {
            input,
            at: 0,
            most,
            command: command.to_vec(),
            taken: Vec::new(),
            is_running: false,
            given: Vec::new(),
            status: 0,
            checksum: None,
            checksums: false,
            whole: Vec::new(),
            is_whole: false,
        }
    }

    /// Returns the next byte of the input, which is repeated without end.
    fn next(&mut self) -> u8 {
        let byte = self.input.get(self.at).copied().unwrap_or(0);
        self.at = (self.at + 1) % self.input.len().max(1);
        byte
    }

    /// Returns the status of a chip without faults.
    fn right_status(&self) -> u32 {
        let whole = match self.given.get(2..6) {
            Some(size) => u32::from_be_bytes(size.try_into().expect("four bytes")) as usize,
            None => 10,
        };
        match self.taken.len() {
            _ if self.is_running && self.given.len() < whole => 0x4090,
            _ if self.is_running => 0x4080,
            0 => 0x40c0,
            taken if taken < self.command.len() => 0x4088,
            _ => 0x4080,
        }
    }

    /// Replaces the input's value by a plausible one, most of the time.
    fn shape(&mut self, kind: u8, register: Register, bytes: &mut [u8]) {
        match register {
            Register::Access => bytes[0] = 0xa1,
            Register::Status => {
                let status = match kind {
                    0..150 => self.right_status(),
                    _ => STATUS[usize::from(kind) % STATUS.len()],
                };
                bytes.copy_from_slice(&status.to_le_bytes());
            }
            Register::ChecksumEnable => bytes[0] = kind & 1,
            Register::Checksum if kind < 150 => {
                let of = match self.given.is_empty() {
                    true => &self.taken,
                    false => &self.given,
                };
                bytes.copy_from_slice(&crc16(of).to_be_bytes());
            }
            // A header with a small size.
            Register::DataFifo if kind < 150 && self.given.is_empty() => {
                if let Some(size) = bytes.get_mut(2..6) {
                    size.copy_from_slice(&[0, 0, 0, 8 + kind % 32]);
                }
            }
            _ => {}
        }
    }

    /// Notes what the driver read.
    fn note(&mut self, register: Register, bytes: &[u8]) {
        match register {
            Register::Status => {
                self.status = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
            }
            Register::DataFifo => {
                self.given.extend_from_slice(bytes);
                self.checksum = None;
            }
            Register::ChecksumEnable => self.checksums = bytes[0] == 1,
            Register::Checksum => {
                self.checksum = Some(u16::from_be_bytes(bytes.try_into().expect("two bytes")));
            }
            _ => {}
        }
    }

    /// Checks that the chip has taken the whole command when the driver writes tpmGo.
    fn go(&mut self) {
        assert_eq!(self.taken, self.command, "another command runs");
        let status = Status(self.status);
        assert!(
            status.has(STS_VALID) && !status.has(STS_EXPECT),
            "{status:?}"
        );
        self.check(&self.taken);
        (self.given, self.checksum) = (Vec::new(), None);
        self.is_running = true;
    }

    /// Checks that the last checksum is that of these bytes, if there are checksums.
    fn check(&self, bytes: &[u8]) {
        if self.checksums {
            assert_eq!(self.checksum, Some(crc16(bytes)), "a wrong checksum");
        }
    }

    fn control(&mut self, value: u32) {
        if value & STS_GO != 0 {
            self.go();
        } else if value & STS_RESPONSE_RETRY != 0 {
            (self.given, self.checksum) = (Vec::new(), None);
        } else if value & STS_COMMAND_READY != 0 {
            self.end();
        }
    }

    /// Notes that the driver writes commandReady, perhaps after a response.
    fn end(&mut self) {
        let status = Status(self.status);
        self.is_whole = status.has(STS_VALID) && !status.has(STS_DATA_AVAIL);
        self.whole = std::mem::take(&mut self.given);
        self.taken.clear();
        self.is_running = false;
    }

    /// Compares a response with the bytes that the chip gave.
    fn judge(&self, response: &[u8]) {
        assert!(response.len() >= 10, "{response:02x?}");
        let size = u32::from_be_bytes(response[2..6].try_into().expect("a header"));
        assert_eq!(size as usize, response.len(), "{response:02x?}");
        assert_eq!(self.whole, response, "the chip gave other bytes");
        assert!(self.is_whole, "the chip has more: {:#x}", self.status);
        self.check(response);
    }
}

impl Bus for AnyChip<'_> {
    type Error = ();
    const CHECKSUM: bool = true;

    fn most(&self) -> usize {
        self.most
    }

    fn read(
        &mut self,
        clock: &mut dyn Clock,
        _: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<()>> {
        clock.delay_us(10);
        let kind = self.next();
        if kind > 250 {
            return Err([Fault::Busy, Fault::Bus(()), Fault::NoRegister][usize::from(kind) % 3]);
        }
        for byte in &mut *bytes {
            *byte = self.next();
        }
        if kind < 220 {
            self.shape(kind, register, bytes);
        }
        self.note(register, bytes);
        Ok(())
    }

    fn write(
        &mut self,
        clock: &mut dyn Clock,
        _: u8,
        register: Register,
        bytes: &[u8],
    ) -> Result<(), Fault<()>> {
        clock.delay_us(10);
        if self.next() > 250 {
            return Err(Fault::Busy);
        }
        match register {
            Register::DataFifo => {
                self.taken.extend_from_slice(bytes);
                self.checksum = None;
            }
            Register::Status => {
                let mut value = [0; 4];
                value[..bytes.len()].copy_from_slice(bytes);
                self.control(u32::from_le_bytes(value));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Time that passes by the driver's own delays alone.
struct Virtual(Duration);

impl DelayNs for Virtual {
    fn delay_ns(&mut self, ns: u32) {
        self.0 += Duration::from_nanos(ns.into());
    }
}

impl Clock for Virtual {
    fn now(&mut self) -> Duration {
        self.0
    }
}

/// Returns a command of `length` bytes, 10 or more.
fn command(length: usize) -> Vec<u8> {
    let mut command = vec![0x80, 0x01];
    command.extend((length as u32).to_be_bytes());
    command.extend((6..length).map(|at| at as u8));
    command
}
