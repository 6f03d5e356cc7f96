// SPDX-License-Identifier: BSD-2-Clause
//! Sends a command: commandReady, the bytes in bursts, the last byte alone, tpmGo.

use core::time::Duration;

use super::{FIRST_PAUSE, Phase, Result, Tis};
use crate::bus::Bus;
use crate::checksum::crc16;
use crate::error::Error;
use crate::registers::{Register, STS_COMMAND_READY, STS_EXPECT, STS_GO, STS_VALID, Status};
use crate::time::{Clock, since};

/// The size of a command's or response's header in bytes.
pub(super) const HEADER: usize = 10;
/// How many times a command or response with a wrong checksum is transferred.
pub(super) const TRIES: u8 = 3;
/// How long after commandReady it is written again: after a response it may
/// leave the chip idle, and the second one makes it ready.
const READY_AGAIN: Duration = Duration::from_millis(5);

/// The size in the header of a command or a response.
pub(super) fn size_of(header: &[u8]) -> Option<u32> {
    let size = header.get(2..6)?;
    Some(u32::from_be_bytes(size.try_into().ok()?))
}

impl<B: Bus, C: Clock> Tis<B, C> {
    /// Sends a command, and makes the chip execute it. It waits until the chip has
    /// taken the bytes, but not for the response. A command under way is aborted first.
    ///
    /// # Errors
    /// [`Error::CommandSize`]; others name what the chip did not do. The next command
    /// clears up.
    pub fn start(&mut self, command: &[u8]) -> Result<(), B> {
        let size = size_of(command).and_then(|size| usize::try_from(size).ok());
        if command.len() < HEADER || size != Some(command.len()) {
            return Err(Error::CommandSize {
                length: command.len(),
            });
        }
        if !matches!(self.phase, Phase::Idle) {
            self.phase = Phase::Idle;
            self.unsettled = true;
        }
        self.busy_since = None;
        match self.deliver(command) {
            Ok(()) => {
                let begun = self.clock.now();
                self.phase = Phase::Running { begun };
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }

    /// Sends a command, again if its checksum was wrong, and writes tpmGo.
    fn deliver(&mut self, command: &[u8]) -> Result<(), B> {
        let mut tries = 1;
        loop {
            let ready = self.prepare()?;
            self.unsettled = true;
            match self.put(ready, command) {
                Ok(()) => match self.compare(command, tries) {
                    Ok(()) => break,
                    Err(Error::Checksum { .. }) if tries < TRIES => {}
                    Err(error) => return Err(error),
                },
                // Bytes were lost or doubled on a bus that can lose them.
                Err(Error::Timeout { .. }) if self.has_checksum() && tries < TRIES => {}
                Err(error) => return Err(error),
            }
            tries += 1;
        }
        self.write(Register::Status, &[STS_GO as u8])
    }

    /// Claims the locality if necessary, and makes the chip ready. A chip that was
    /// reset since the last command returns garbage, and must be claimed again. So must
    /// a chip for which checksums could not be enabled.
    fn prepare(&mut self) -> Result<Status, B> {
        if self.claimed && self.checksum.is_some() {
            match self.make_ready() {
                Err(Error::Garbage { .. }) => {}
                result => return result,
            }
            self.claimed = false;
        }
        self.claim()?;
        self.make_ready()
    }

    /// Aborts what the chip may have, and waits until it is ready, for which it
    /// has TIMEOUT_B.
    pub(super) fn make_ready(&mut self) -> Result<Status, B> {
        let begun = self.clock.now();
        let mut written = None;
        if self.unsettled || self.goes_idle {
            self.write(Register::Status, &[STS_COMMAND_READY as u8])?;
            written = Some(begun);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let now = self.clock.now();
            let status = self.status()?;
            if status.has(STS_COMMAND_READY) {
                self.unsettled = false;
                return Ok(status);
            }
            self.goes_idle = true;
            let waited = now.saturating_sub(begun);
            if waited >= self.timeouts.b {
                return Err(Error::Timeout {
                    register: Register::Status,
                    value: status.0,
                    mask: STS_COMMAND_READY,
                    wanted: STS_COMMAND_READY,
                    waited,
                });
            }
            if written.is_none_or(|at| now.saturating_sub(at) >= READY_AGAIN) {
                self.write(Register::Status, &[STS_COMMAND_READY as u8])?;
                written = Some(now);
            } else {
                self.pause(&mut pause);
            }
        }
    }

    /// Writes the bytes of a command. The last one is written only after Expect was 1,
    /// so that the chip never takes fewer or more bytes for the whole command.
    fn put(&mut self, ready: Status, command: &[u8]) -> Result<(), B> {
        let (mut left, last) = command.split_at(command.len() - 1);
        let mut status = ready;
        while !left.is_empty() {
            let burst = self.burst(status)?.min(self.bus.most()).min(left.len());
            let (now, later) = left.split_at(burst);
            self.write(Register::DataFifo, now)?;
            left = later;
            status = self.status()?;
        }
        let status = self.wait_for_expect(status, STS_EXPECT)?;
        self.burst(status)?;
        self.write(Register::DataFifo, last)?;
        let status = self.status()?;
        self.wait_for_expect(status, 0)?;
        Ok(())
    }

    /// Waits until the burst count is not 0, for which the chip has TIMEOUT_A.
    fn burst(&mut self, mut status: Status) -> Result<usize, B> {
        let begun = self.clock.now();
        let mut waited = Duration::ZERO;
        let mut pause = FIRST_PAUSE;
        while status.burst() == 0 {
            if waited >= self.timeouts.a {
                return Err(Error::NoBurst {
                    value: status.0,
                    waited,
                });
            }
            self.pause(&mut pause);
            waited = since(&mut self.clock, begun);
            status = self.status()?;
        }
        Ok(status.burst())
    }

    /// Waits until Expect is valid and as `wanted`, for which the chip has
    /// TIMEOUT_C.
    fn wait_for_expect(&mut self, mut status: Status, wanted: u32) -> Result<Status, B> {
        const MASK: u32 = STS_VALID | STS_EXPECT;
        let wanted = STS_VALID | wanted;
        let begun = self.clock.now();
        let mut waited = Duration::ZERO;
        let mut pause = FIRST_PAUSE;
        while status.0 & MASK != wanted {
            if waited >= self.timeouts.c {
                return Err(Error::Timeout {
                    register: Register::Status,
                    value: status.0,
                    mask: MASK,
                    wanted,
                    waited,
                });
            }
            self.pause(&mut pause);
            waited = since(&mut self.clock, begun);
            status = self.status()?;
        }
        Ok(status)
    }

    /// Compares the chip's checksum with that of `bytes`.
    pub(super) fn compare(&mut self, bytes: &[u8], tries: u8) -> Result<(), B> {
        if !self.has_checksum() {
            return Ok(());
        }
        let mut chip = [0; 2];
        self.read(Register::Checksum, &mut chip)?;
        let (chip, host) = (u16::from_be_bytes(chip), crc16(bytes));
        match chip == host {
            true => Ok(()),
            false => Err(Error::Checksum { chip, host, tries }),
        }
    }
}
