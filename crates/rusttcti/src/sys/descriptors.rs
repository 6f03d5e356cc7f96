// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors that disturb no other user of the process: above the standard
//! streams, and closed in forked children.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};

use crate::Result;
use crate::sys::fork::{ClosedInChildren, Generation};

/// The first number that no standard stream has.
const FIRST: i32 = 3;

/// Moves a descriptor above 2 if it has the number of a standard stream. A
/// program that was started without these would write its messages to the TPM.
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

/// Makes a call that may open descriptors of its own: none of them gets the number
/// of a standard stream. Those of these that are closed are /dev/null meanwhile.
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

/// A descriptor of this process alone: programs that are executed don't get it,
/// nor do forked children.
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
    /// The system's, where no number is free.
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
            // In this order, as `ClosedInChildren` asks for.
            drop(closed_in_children);
            drop(fd);
        } else {
            // The fork closed it, and the number may be another file's by now.
            std::mem::forget((closed_in_children, fd));
        }
    }
}
