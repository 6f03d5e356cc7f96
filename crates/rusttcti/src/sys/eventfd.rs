// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that is readable from `set` to `clear`: one thread tells another
//! with it, or a caller waits for it with poll(2).

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::sys::descriptors::above_stdio;

/// An eventfd(2), which a forked child shares.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// Makes one that is readable if `set`.
    ///
    /// # Errors
    /// The system's, where it has no descriptor or no memory left.
    pub(crate) fn new(set: bool) -> rustix::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        eventfd(set.into(), flags).and_then(above_stdio).map(Self)
    }

    /// Makes it readable.
    pub(crate) fn set(&self) {
        // It fails only after 2^64 - 2 of these, and is readable then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        // It fails only where it is not readable.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
