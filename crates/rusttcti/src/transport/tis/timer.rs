// SPDX-License-Identifier: BSD-2-Clause
//! The poll handle of a chip: a timer.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::sys::descriptors::OwnFd;
use crate::{PollHandle, Result};

/// Readable from when it went off until it is set anew.
#[derive(Debug)]
pub(super) struct Timer(OwnFd);

impl Timer {
    pub(super) fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).and_then(OwnFd::new);
        Ok(Self(fd.map_err(std::io::Error::from)?))
    }

    /// Has it go off once, after `time`.
    pub(super) fn start(&self, time: Duration) -> Result<()> {
        // Zero would stop it.
        self.set(time.max(Duration::from_nanos(1)))
    }

    /// Has it not go off.
    pub(super) fn stop(&self) -> Result<()> {
        self.set(Duration::ZERO)
    }

    fn set(&self, time: Duration) -> Result<()> {
        let spec = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).unwrap_or_default(),
        };
        let none = TimerfdTimerFlags::empty();
        timerfd_settime(self.0.as_fd(), none, &spec).map_err(std::io::Error::from)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn handle(&self) -> PollHandle {
        PollHandle::readable(self.0.as_fd().as_raw_fd())
    }
}
