// SPDX-License-Identifier: BSD-2-Clause
//! Reading and writing with a deadline, whatever signals come in between.
//!
//! Every descriptor given here is non-blocking. An interrupted call (EINTR) is
//! made again with the time that is left; a short read or write goes on.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{ErrorKind, Result};

/// How long a peer may leave a write or a connection waiting where its protocol
/// has no figure of its own. The fuzzer's peers are on the same machine, and
/// the more of them it can be, the better.
pub(crate) const PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 5000 });

/// `fd`, or a copy of it above 2 where it is one of the standard streams': a
/// program that starts with those closed would write its messages to the TPM.
pub(crate) fn above_stdio(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(std::io::Error::from)?)
}

/// Copies a response, whose place is as long. Most are short: they go in blocks
/// that follow each other, and not, as memcpy(3) has them, in two that overlap,
/// which makes whoever reads them next wait for both to be in memory.
#[inline(never)] // where registers are its own
pub(crate) fn copy<T>(from: &[u8], to: &mut [T], write: impl Fn(u8) -> T) {
    const SHORT: usize = 64;
    assert!(from.len() == to.len(), "a place as long as the response");
    if from.len() >= SHORT {
        for (to, from) in to.iter_mut().zip(from) {
            *to = write(*from);
        }
        return;
    }
    // Each bit of the length is a block.
    let mut at = 0;
    at += copy_block::<32, T>(at, from, to, &write);
    at += copy_block::<16, T>(at, from, to, &write);
    at += copy_block::<8, T>(at, from, to, &write);
    at += copy_block::<4, T>(at, from, to, &write);
    at += copy_block::<2, T>(at, from, to, &write);
    copy_block::<1, T>(at, from, to, &write);
}

/// Copies `N` bytes, if that bit of the length is set, and returns how many.
#[inline(always)]
fn copy_block<const N: usize, T>(
    at: usize,
    from: &[u8],
    to: &mut [T],
    write: &impl Fn(u8) -> T,
) -> usize {
    if from.len() & N == 0 {
        return 0;
    }
    for (to, from) in to[at..at + N].iter_mut().zip(&from[at..at + N]) {
        *to = write(*from);
    }
    N
}

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

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn a_copy_of_any_length_is_the_same_bytes() {
        for length in 0..200 {
            let from: Vec<u8> = (0..length).map(|n| n as u8 + 1).collect();
            let mut to = vec![0; from.len()];
            copy(&from, &mut to, |byte| byte);
            assert_eq!(from, to);
        }
    }
}
