// SPDX-License-Identifier: BSD-2-Clause
//! Reading and writing with a deadline, whatever signals come in between.
//!
//! Every descriptor given here is non-blocking. An interrupted call (EINTR) is
//! made again with the time that is left; a short read or write goes on.

#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{ErrorKind, Result};

/// How long a peer may leave a write or a connection waiting where its protocol
/// has no figure of its own. The fuzzer's peers are on the same machine, and
/// the more of them it can be, the better.
pub(crate) const PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 5000 });

/// A point in time to be done by, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// Wait for ever.
    Never,
    /// Only look: no system call is spent on waiting, none on the clock.
    Now,
    /// Wait until then.
    At(Instant),
}

impl Deadline {
    /// The deadline of a timeout that starts now: `None` is for ever.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        match timeout {
            None => Self::Never,
            Some(Duration::ZERO) => Self::Now,
            // Further off than the clock can say is for ever.
            Some(timeout) => Instant::now()
                .checked_add(timeout)
                .map_or(Self::Never, Self::At),
        }
    }

    /// This deadline, or the one after so much time where that is earlier.
    pub(crate) fn or_after(self, time: Duration) -> Self {
        match self.remaining() {
            Some(left) if left <= time => self,
            _ => Self::after(Some(time)),
        }
    }

    /// The time that is left: `None` is for ever, zero is up.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
        }
    }

    /// True once no time is left.
    pub(crate) fn is_over(self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}

/// Waits until one of `flags` (or an error, or a hang-up) shows on `fd`.
///
/// # Errors
/// [`ErrorKind::TryAgain`] at the deadline.
pub(crate) fn wait(fd: BorrowedFd<'_>, flags: PollFlags, deadline: Deadline) -> Result<()> {
    loop {
        let left = deadline.remaining();
        if matches!(deadline, Deadline::Now) {
            return Err(ErrorKind::TryAgain.into());
        }
        let timespec = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(
            &mut [PollFd::from_borrowed_fd(fd, flags)],
            timespec.as_ref(),
        ) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => {
                return Err(ErrorKind::TryAgain.into());
            }
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
}
