// SPDX-License-Identifier: BSD-2-Clause
//! Accesses of registers: once, or again while the chip is busy.

use core::time::Duration;

use super::{FIRST_PAUSE, LONGEST_PAUSE, Result, Tis};
use crate::bus::{Bus, Fault};
use crate::error::Error;
use crate::registers::{Register, STS_ZERO, Status};
use crate::time::{Clock, delay};

impl<B: Bus, C: Clock> Tis<B, C> {
    /// Reads STS.
    pub(super) fn status(&mut self) -> Result<Status, B> {
        let mut value = [0; 4];
        self.read(Register::Status, &mut value)?;
        self.plausible(value)
    }

    /// Reads STS once; `None` if the chip is busy.
    pub(super) fn look(&mut self) -> Result<Option<Status>, B> {
        let mut value = [0; 4];
        let now = self.clock.now();
        let result = self
            .bus
            .read(&mut self.clock, self.locality, Register::Status, &mut value);
        match self.once(Register::Status, now, result)? {
            Some(()) => self.plausible(value).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn plausible(&mut self, value: [u8; 4]) -> Result<Status, B> {
        let status = Status(u32::from_le_bytes(value));
        if status.is_garbage() {
            return Err(Error::Garbage {
                register: Register::Status,
                value: status.0,
                zero: STS_ZERO,
            });
        }
        Ok(status)
    }

    /// Sorts the result of one access, made at `now`: `None` if the chip is
    /// busy, for which it has TIMEOUT_A.
    pub(super) fn once(
        &mut self,
        register: Register,
        now: Duration,
        result: core::result::Result<(), Fault<B::Error>>,
    ) -> Result<Option<()>, B> {
        match result {
            Ok(()) => {
                self.busy_since = None;
                Ok(Some(()))
            }
            Err(Fault::Busy) => {
                let begun = *self.busy_since.get_or_insert(now);
                let waited = now.saturating_sub(begun);
                if waited >= self.timeouts.a {
                    self.busy_since = None;
                    return Err(Error::at(register, Fault::Busy, waited));
                }
                Ok(None)
            }
            Err(fault) => Err(Error::at(register, fault, Duration::ZERO)),
        }
    }

    /// Makes an access, again as long as the chip is busy.
    pub(super) fn access(
        &mut self,
        register: Register,
        mut access: impl FnMut(&mut B, &mut C) -> core::result::Result<(), Fault<B::Error>>,
    ) -> Result<(), B> {
        loop {
            let now = self.clock.now();
            let result = access(&mut self.bus, &mut self.clock);
            match self.once(register, now, result)? {
                Some(()) => return Ok(()),
                // The bus keeps the chip's guard time besides.
                None => delay(&mut self.clock, FIRST_PAUSE),
            }
        }
    }

    pub(super) fn read(&mut self, register: Register, bytes: &mut [u8]) -> Result<(), B> {
        let locality = self.locality;
        self.access(register, |bus, clock| {
            bus.read(clock, locality, register, bytes)
        })
    }

    pub(super) fn write(&mut self, register: Register, bytes: &[u8]) -> Result<(), B> {
        let locality = self.locality;
        self.access(register, |bus, clock| {
            bus.write(clock, locality, register, bytes)
        })
    }

    /// Waits a little, and twice as long the next time.
    pub(super) fn pause(&mut self, pause: &mut Duration) {
        delay(&mut self.clock, *pause);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }
}
