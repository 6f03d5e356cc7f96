// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that is readable from `set` to `clear`. One thread can wake another
//! with it, or a caller waits for it with poll(2).

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use crate::sys::descriptors::{OwnFd, above_stdio};

/// An eventfd(2). A forked child shares it, or has none if `F` is [`OwnFd`].
#[derive(Debug)]
pub(crate) struct EventFd<F = OwnedFd>(F);

impl EventFd {
    /// Makes one that a forked child shares; it is readable if `set`.
    ///
    /// # Errors
    /// The system's, if it has no descriptor or no memory left.
    pub(crate) fn new(set: bool) -> rustix::io::Result<Self> {
        open(set).and_then(above_stdio).map(Self)
    }
}

impl EventFd<OwnFd> {
    /// Makes one that a forked child does not get; it is not readable.
    ///
    /// # Errors
    /// The system's, if it has no descriptor or no memory left.
    pub(crate) fn own() -> rustix::io::Result<Self> {
        open(false).and_then(OwnFd::new).map(Self)
    }
}

fn open(set: bool) -> rustix::io::Result<OwnedFd> {
    eventfd(set.into(), EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

impl<F: AsFd> EventFd<F> {
    /// Makes it readable.
    pub(crate) fn set(&self) {
        // It fails only after 2^64 - 2 calls, and the descriptor is readable then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        // It fails only if the descriptor is not readable.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl<F: AsFd> AsFd for EventFd<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
