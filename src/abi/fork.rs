// SPDX-License-Identifier: BSD-2-Clause
//! Telling a forked child from its parent without a system call per command.
//!
//! A handler that fork(2) runs in the child counts a number up; whoever keeps
//! the number that was there when it began knows whether it crossed a fork.
//! glibc forgets the handler when this library is unloaded.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use crate::{Error, ErrorKind, Result};

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// No lock, which a child could find taken: that two threads at once register
/// twice does no harm.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Descriptors that a child must not keep, -1 where a place is free.
static PARENTS_ONLY: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

/// How many forks lie between the first process and this one, as far as they
/// were made since the first call of this function.
pub(crate) fn generation() -> u64 {
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: `in_child` touches atomics and calls close(2) only, both of
        // which are allowed between fork and exec of a threaded process. The
        // registration ends with this library, so that the pointer never dangles.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
    current()
}

/// The same, by one load: for those who called [`generation`] before.
#[inline]
pub(crate) fn current() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Fails in a forked child of the process that `generation` is from: what was
/// opened there is the parent's.
#[inline]
pub(crate) fn check(generation: u64) -> Result<()> {
    if generation == current() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::BadContext,
        "this context was opened before fork() and belongs to the parent process; \
         open one of its own in the child",
    ))
}

unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for place in &PARENTS_ONLY {
        let fd = place.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the descriptor is the child's copy of one whose owner
            // keeps it open until it calls `ParentsOnly::drop`, and that owner
            // lives in the parent; in the child nobody uses it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Keeps a descriptor from being inherited by forked children, as O_CLOEXEC
/// keeps it from programs: a file lock held by it then ends with this process,
/// however many children live on.
#[derive(Debug)]
pub(crate) struct ParentsOnly(Option<&'static AtomicI32>);

impl ParentsOnly {
    /// From now until the value is dropped, `fd` is closed in each child. Where
    /// all places are taken, nothing happens, and children inherit it.
    ///
    /// The descriptor must be closed only after this value is dropped.
    pub(crate) fn new(fd: std::os::fd::RawFd) -> Self {
        generation();
        Self(PARENTS_ONLY.iter().find(|place| {
            place
                .compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        }))
    }
}

impl Drop for ParentsOnly {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(-1, Ordering::Relaxed);
        }
    }
}
