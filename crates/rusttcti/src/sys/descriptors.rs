// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that no other process gets: closed in programs that are
//! executed, and in forked children as well.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};

use crate::Result;
use crate::sys::fork::{self, ParentsOnly};

/// `fd`, or a copy of it above 2 where it is one of the standard streams': a
/// program that starts with those closed would write its messages to the TPM.
pub(crate) fn above_stdio(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3)
}

/// Makes a call that may open descriptors of its own: none of them becomes one of
/// the standard streams', of which those that are closed are /dev/null meanwhile.
pub(crate) fn with_stdio_taken<T>(call: impl FnOnce() -> T) -> T {
    let mut taken = Vec::new();
    while let Ok(fd) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        if fd.as_raw_fd() > 2 {
            break;
        }
        taken.push(fd);
    }
    call()
}

/// A descriptor of this process alone.
#[derive(Debug)]
pub(crate) struct OwnFd {
    generation: u64,
    /// Both are there until the value is dropped.
    parents_only: Option<ParentsOnly>,
    fd: Option<OwnedFd>,
}

impl OwnFd {
    /// Takes a descriptor that is closed on exec; it becomes one above 2.
    pub(crate) fn new(fd: OwnedFd) -> Result<Self> {
        let fd = above_stdio(fd).map_err(std::io::Error::from)?;
        Ok(Self {
            generation: fork::generation(),
            parents_only: Some(ParentsOnly::new(fd.as_raw_fd())),
            fd: Some(fd),
        })
    }

    /// Fails in a forked child, where the descriptor's number means nothing.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        fork::check(self.generation)
    }
}

impl AsFd for OwnFd {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // It goes when the value goes.
        self.fd.as_ref().expect("a descriptor").as_fd()
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        let (parents_only, fd) = (self.parents_only.take(), self.fd.take());
        if self.check().is_err() {
            // The fork closed it, and its number may be another's by now.
            std::mem::forget((parents_only, fd));
            return;
        }
        drop(parents_only);
        drop(fd);
    }
}
