// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that becomes readable at a point in time: event loops poll it,
//! and [`poll`](crate::sys::poll) waits for it.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::sys::descriptors::OwnFd;
use crate::{Error, PollHandle, Result};

/// The shortest time that a timer can be set to: zero would stop it.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// A timer that becomes readable when its time is up, until it is set again.
#[derive(Debug)]
pub(crate) struct Timer(OwnFd);

impl Timer {
    /// Makes a timer that is not set.
    ///
    /// # Errors
    /// Those of timerfd_create(2): the process has no descriptor left.
    pub(crate) fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)
            .and_then(OwnFd::new)
            .map_err(|errno| Error::from(io::Error::from(errno)).context("timerfd_create"))?;
        Ok(Self(fd))
    }

    /// Sets the timer to this time from now, or stops it: `None` is never.
    pub(crate) fn set(&self, time: Option<Duration>) {
        // A time beyond the kernel's range is never, too.
        let value = time
            .map(|time| time.max(AT_ONCE))
            .and_then(|time| Timespec::try_from(time).ok());
        let zero = Timespec::default();
        let once = Itimerspec {
            it_interval: zero,
            it_value: value.unwrap_or(zero),
        };
        // It fails only for a descriptor that is no timer, and for invalid nanoseconds.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once);
    }

    /// Sets the timer to now.
    pub(crate) fn expire(&self) {
        self.set(Some(AT_ONCE));
    }

    /// Returns the poll handle for an event loop.
    pub(crate) fn poll_handle(&self) -> PollHandle {
        PollHandle::readable(self.0.as_fd().as_raw_fd())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::event::PollFlags;

    use super::*;
    use crate::sys::deadline::Deadline;
    use crate::sys::poll;

    fn is_over(timer: &Timer, patience: Duration) -> bool {
        let deadline = Deadline::At(Instant::now() + patience);
        poll::one(timer.as_fd(), PollFlags::IN, deadline) == Ok(true)
    }

    #[test]
    fn a_timer_is_readable_when_its_time_is_up_and_until_it_is_set_anew() {
        let timer = Timer::new().expect("a timer");
        assert!(!is_over(&timer, Duration::from_millis(5)), "it is not set");
        let begun = Instant::now();
        timer.set(Some(Duration::from_millis(20)));
        assert!(is_over(&timer, Duration::from_secs(10)));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert!(is_over(&timer, Duration::ZERO.max(AT_ONCE)), "it stays so");
        timer.set(None);
        assert!(!is_over(&timer, Duration::from_millis(5)), "it was stopped");
        timer.expire();
        assert!(is_over(&timer, Duration::from_secs(10)));
    }
}
