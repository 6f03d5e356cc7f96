// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors that do not disturb the rest of the process: their numbers are above the
//! standard streams, and they are closed in forked children.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};

use crate::Result;
use crate::sys::fork::{ClosedInChildren, Generation};

/// The first number above those of the standard streams.
const FIRST: i32 = 3;

/// Moves a descriptor above 2 if it has the number of a standard stream. Otherwise a
/// program that was started without standard streams would write its messages to the
/// TPM.
pub(crate) fn above_stdio(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    match fd.as_raw_fd() < FIRST {
        true => duplicate(fd),
        false => Ok(fd),
    }
}

/// Returns a copy above 2 that is closed on exec.
pub(crate) fn duplicate(fd: impl AsFd) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, FIRST)
}

/// Makes a call that may open descriptors, and keeps these off the numbers of the
/// standard streams: standard streams that are closed are /dev/null during the call.
pub(crate) fn with_stdio_taken<T>(call: impl FnOnce() -> T) -> T {
    let mut taken = Vec::new();
    while let Ok(fd) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        if fd.as_raw_fd() >= FIRST {
            break;
        }
        taken.push(fd);
    }
    call()
}

/// A descriptor that neither executed programs nor forked children get.
#[derive(Debug)]
pub(crate) struct OwnFd {
    generation: Generation,
    /// `Some` until the value is dropped, as is `fd`.
    closed_in_children: Option<ClosedInChildren>,
    fd: Option<OwnedFd>,
}

impl OwnFd {
    /// Takes a descriptor that is closed on exec, and moves it above 2.
    ///
    /// # Errors
    /// The system's, if no number is free.
    pub(crate) fn new(fd: OwnedFd) -> rustix::io::Result<Self> {
        let fd = above_stdio(fd)?;
        Ok(Self {
            generation: Generation::current(),
            closed_in_children: Some(ClosedInChildren::new(fd.as_raw_fd())),
            fd: Some(fd),
        })
    }

    /// Fails in a forked child, where the number may be another file's.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.generation.check()
    }

    /// Returns whether this is the process that opened it.
    pub(crate) fn is_open(&self) -> bool {
        self.generation.is_current()
    }
}

impl AsFd for OwnFd {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Taken by `drop` alone.
        self.fd.as_ref().expect("a descriptor").as_fd()
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        let (closed_in_children, fd) = (self.closed_in_children.take(), self.fd.take());
        if self.is_open() {
            // In this order, which `ClosedInChildren` requires.
            drop(closed_in_children);
            drop(fd);
        } else {
            // The fork closed it, and the number may be another file's by now.
            std::mem::forget((closed_in_children, fd));
        }
    }
}
