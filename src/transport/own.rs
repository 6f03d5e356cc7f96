// SPDX-License-Identifier: BSD-2-Clause
//! A descriptor that no other process gets: closed in programs that are
//! executed, and in forked children as well.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::Result;
use crate::abi::fork::{self, ParentsOnly};
use crate::io;

/// A descriptor of this process alone.
#[derive(Debug)]
pub(super) struct OwnFd {
    generation: u64,
    /// Both are there until the value is dropped.
    parents_only: Option<ParentsOnly>,
    fd: Option<OwnedFd>,
}

impl OwnFd {
    /// Takes a descriptor that is closed on exec; it becomes one above 2.
    pub(super) fn new(fd: OwnedFd) -> Result<Self> {
        let fd = io::above_stdio(fd)?;
        Ok(Self {
            generation: fork::generation(),
            parents_only: Some(ParentsOnly::new(fd.as_raw_fd())),
            fd: Some(fd),
        })
    }

    /// Fails in a forked child, where the descriptor's number means nothing.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
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
