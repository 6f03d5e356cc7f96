// SPDX-License-Identifier: BSD-2-Clause
//! Receives a response, with one status read in each step.

use core::time::Duration;

use super::send::{HEADER, TRIES, size_of};
use super::{Phase, Result, Tis};
use crate::bus::Bus;
use crate::error::Error;
use crate::registers::{
    Register, STS_COMMAND_READY, STS_DATA_AVAIL, STS_RESPONSE_RETRY, STS_VALID, Status,
};
use crate::time::{Clock, delay, since};

/// The first and the longest pause between two looks at a command's end.
const FIRST_INTERVAL: Duration = Duration::from_millis(1);
const LONGEST_INTERVAL: Duration = Duration::from_millis(5);
/// The pause between two looks while a response is read, and after a NACK.
const READING_INTERVAL: Duration = Duration::from_micros(100);

/// How far a response has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// How many bytes have come.
    have: usize,
    /// The size in the header, once that was read.
    size: Option<usize>,
    /// When the last bytes came.
    progress: Duration,
    /// How many times the response has been read, with this one.
    tries: u8,
    /// What STS showed, where the chip then refused the FIFO's read: that is
    /// made again at once, and not behind another look.
    seen: Option<Status>,
}

impl Reading {
    const fn new(progress: Duration, tries: u8) -> Self {
        Self {
            have: 0,
            size: None,
            progress,
            tries,
            seen: None,
        }
    }

    /// How many bytes are to come, as far as is known.
    const fn end(&self) -> usize {
        match self.size {
            Some(size) => size,
            None => HEADER,
        }
    }

    fn is_whole(&self) -> bool {
        self.size == Some(self.have)
    }
}

/// What a look showed.
enum Look {
    /// The chip has nothing yet.
    Nothing,
    /// Bytes were read; there may be more.
    Bytes,
    /// The response is whole, and of this size.
    Whole(usize),
}

impl<B: Bus, C: Clock> Tis<B, C> {
    /// Checks once for the response to the command under way, and reads the bytes that
    /// the chip has. Returns the response's size when it is whole, and `None` before.
    /// It does not wait. Give each call the same buffer until then.
    ///
    /// # Errors
    /// [`Error::NotStarted`]; others name what the chip did not do. The command has
    /// failed then, and the next one clears up.
    pub fn step(&mut self, response: &mut [u8]) -> Result<Option<usize>, B> {
        loop {
            let look = match self.phase {
                Phase::Idle => return Err(Error::NotStarted),
                Phase::Running { begun } => self.look_for_end(begun, response),
                Phase::Reading(reading) => self.look_for_bytes(reading, response),
            };
            match look {
                Ok(Look::Nothing) => return Ok(None),
                Ok(Look::Bytes) => {}
                Ok(Look::Whole(size)) => return Ok(Some(size)),
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Returns how long to wait before the next [`step`](Self::step): a
    /// millisecond at first, and five at most.
    pub fn interval(&mut self) -> Duration {
        match self.phase {
            Phase::Running { begun } if self.busy_since.is_none() => {
                let running = since(&mut self.clock, begun);
                (running / 16).clamp(FIRST_INTERVAL, LONGEST_INTERVAL)
            }
            _ => READING_INTERVAL,
        }
    }

    /// Waits for the response, `None` for as long as the command may take;
    /// returns `None` if the time is over first. The command goes on then.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn wait(
        &mut self,
        response: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<Option<usize>, B> {
        let begun = self.clock.now();
        loop {
            if let Some(size) = self.step(response)? {
                return Ok(Some(size));
            }
            let mut pause = self.interval();
            if let Some(timeout) = timeout {
                let left = timeout.saturating_sub(since(&mut self.clock, begun));
                if left.is_zero() {
                    return Ok(None);
                }
                pause = pause.min(left);
            }
            delay(&mut self.clock, pause);
        }
    }

    /// Executes a command, and returns the size of its response.
    ///
    /// # Errors
    /// [`Error::OutOfTime`] if `timeout` is over first: the command was
    /// aborted. Otherwise as [`start`](Self::start) and [`step`](Self::step).
    pub fn execute(
        &mut self,
        command: &[u8],
        response: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<usize, B> {
        let begun = self.clock.now();
        self.start(command)?;
        match self.wait(response, timeout)? {
            Some(size) => Ok(size),
            None => {
                self.abort()?;
                let waited = since(&mut self.clock, begun);
                Err(Error::OutOfTime { waited })
            }
        }
    }

    /// Checks whether the command has ended.
    fn look_for_end(&mut self, begun: Duration, response: &mut [u8]) -> Result<Look, B> {
        let now = self.clock.now();
        let Some(status) = self.look()? else {
            return Ok(Look::Nothing);
        };
        if status.has(STS_VALID | STS_DATA_AVAIL) {
            let reading = Reading::new(self.clock.now(), 1);
            self.phase = Phase::Reading(reading);
            return self.read_burst(now, status, reading, response);
        }
        if status.has(STS_COMMAND_READY) {
            return Err(Error::CommandLost { value: status.0 });
        }
        self.stalled(status, now.saturating_sub(begun), self.timeouts.command)
    }

    /// Returns that there is nothing yet, or an error if it took too long.
    fn stalled(&mut self, status: Status, waited: Duration, limit: Duration) -> Result<Look, B> {
        if waited < limit {
            return Ok(Look::Nothing);
        }
        const WANTED: u32 = STS_VALID | STS_DATA_AVAIL;
        Err(Error::Timeout {
            register: Register::Status,
            value: status.0,
            mask: WANTED,
            wanted: WANTED,
            waited,
        })
    }

    /// Reads the bytes of a response that the chip has.
    fn look_for_bytes(&mut self, mut reading: Reading, response: &mut [u8]) -> Result<Look, B> {
        let now = self.clock.now();
        let waited = now.saturating_sub(reading.progress);
        let status = match reading.seen.take() {
            Some(status) => status,
            None => match self.look()? {
                Some(status) => status,
                None => return Ok(Look::Nothing),
            },
        };
        if !status.has(STS_VALID) {
            return self.stalled(status, waited, self.timeouts.c);
        }
        match (reading.is_whole(), status.has(STS_DATA_AVAIL)) {
            (true, true) => Err(Error::ResponseLong {
                size: reading.end(),
                value: status.0,
            }),
            (true, false) => self.finish(reading, response),
            (false, true) => self.read_burst(now, status, reading, response),
            (false, false) => self.short(status, waited, reading),
        }
    }

    /// Handles a chip that has no more bytes before the response is whole.
    fn short(&mut self, status: Status, waited: Duration, reading: Reading) -> Result<Look, B> {
        if reading.have == 0 {
            return self.stalled(status, waited, self.timeouts.c);
        }
        if self.has_checksum() && reading.tries < TRIES {
            return self.again(reading);
        }
        Err(Error::ResponseShort {
            size: reading.end(),
            received: reading.have,
        })
    }

    /// Reads a burst into the buffer.
    fn read_burst(
        &mut self,
        now: Duration,
        status: Status,
        mut reading: Reading,
        response: &mut [u8],
    ) -> Result<Look, B> {
        if status.burst() == 0 {
            let waited = now.saturating_sub(reading.progress);
            return match waited < self.timeouts.a {
                true => Ok(Look::Nothing),
                false => Err(Error::NoBurst {
                    value: status.0,
                    waited,
                }),
            };
        }
        let room = response.len();
        let Some(left) = response.get_mut(reading.have..reading.end()) else {
            return Err(Error::ResponseSize {
                size: u32::try_from(reading.end()).unwrap_or(u32::MAX),
                room,
            });
        };
        let count = status.burst().min(self.bus.most()).min(left.len());
        let result = self.bus.read(
            &mut self.clock,
            self.locality,
            Register::DataFifo,
            &mut left[..count],
        );
        if self.once(Register::DataFifo, now, result)?.is_none() {
            reading.seen = Some(status);
            self.phase = Phase::Reading(reading);
            return Ok(Look::Nothing);
        }
        reading.have += count;
        reading.progress = self.clock.now();
        if reading.size.is_none() && reading.have == HEADER {
            let size = size_of(response).unwrap_or(0);
            match usize::try_from(size) {
                Ok(whole) if (HEADER..=room).contains(&whole) => reading.size = Some(whole),
                _ => return self.no_such_size(size, room, reading),
            }
        }
        self.phase = Phase::Reading(reading);
        Ok(Look::Bytes)
    }

    /// Handles a size in the header that no response has, perhaps by a fault of the
    /// bus.
    fn no_such_size(&mut self, size: u32, room: usize, reading: Reading) -> Result<Look, B> {
        if self.has_checksum() && reading.tries < TRIES {
            return self.again(reading);
        }
        Err(Error::ResponseSize { size, room })
    }

    /// Makes the chip send the response again from its first byte.
    fn again(&mut self, reading: Reading) -> Result<Look, B> {
        self.write(Register::Status, &[STS_RESPONSE_RETRY as u8])?;
        let progress = self.clock.now();
        self.phase = Phase::Reading(Reading::new(progress, reading.tries + 1));
        Ok(Look::Nothing)
    }

    /// Checks the whole response and leaves the chip idle.
    fn finish(&mut self, reading: Reading, response: &[u8]) -> Result<Look, B> {
        match self.compare(&response[..reading.have], reading.tries) {
            Ok(()) => {}
            Err(Error::Checksum { .. }) if reading.tries < TRIES => return self.again(reading),
            Err(error) => return Err(error),
        }
        self.phase = Phase::Idle;
        // The response is right, whatever becomes of this; the next command clears up.
        let idle = self.write(Register::Status, &[STS_COMMAND_READY as u8]);
        self.unsettled = idle.is_err();
        Ok(Look::Whole(reading.have))
    }
}
