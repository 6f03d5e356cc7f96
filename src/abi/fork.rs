// SPDX-License-Identifier: BSD-2-Clause
//! Telling a forked child from its parent without a system call per command,
//! and keeping what a child needs whole while a fork is under way.
//!
//! A handler that fork(2) runs in the child counts a number up; whoever keeps
//! the number that was there when it began knows whether it crossed a fork.
//! Other handlers hold a lock from before the fork until after it, in both
//! processes, so that no other thread is within [`whole`] then. glibc forgets
//! the handlers when this library is unloaded.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

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
        // registration ends with this library, so that no pointer ever dangles.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
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

/// The thread (its pthread_t) that is within [`whole`] or forks, or 0. An atomic
/// and no mutex, because handlers take and release it.
static HOLDER: AtomicUsize = AtomicUsize::new(0);
/// How many times over it is; the holder's alone.
static DEPTH: AtomicUsize = AtomicUsize::new(0);
/// How many threads wait in order to fork. They come before others, who may
/// follow each other without a gap.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// How often one who waits only yields, before it sleeps.
const YIELDS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(100);
/// How long a fork is put off at most, in pauses. Who loads a library may wait
/// for a lock of the loader that the forking thread has (it forks in a
/// library's constructor), or, with glibc before 2.36, for the one under which
/// these handlers are called.
const LONGEST: u32 = 10_000;

/// Makes a change that a child must never find half done, such as one to the
/// loader's lists: no fork comes in between. To be kept short.
pub(crate) fn whole<T>(change: impl FnOnce() -> T) -> T {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            release();
        }
    }

    generation();
    let mut waited = 0;
    while !try_hold(|| FORKING.load(Ordering::Relaxed) == 0) {
        pause(&mut waited);
    }
    let _release = Release;
    change()
}

/// Takes the lock, once more where this thread has it.
fn try_hold(may: impl FnOnce() -> bool) -> bool {
    let this = this_thread();
    if HOLDER.load(Ordering::Relaxed) == this {
        DEPTH.fetch_add(1, Ordering::Relaxed);
        return true;
    }
    let held = may()
        && HOLDER
            .compare_exchange(0, this, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
    if held {
        DEPTH.store(1, Ordering::Relaxed);
    }
    held
}

/// Gives the lock back, where this thread has it.
fn release() {
    if HOLDER.load(Ordering::Relaxed) == this_thread() && DEPTH.fetch_sub(1, Ordering::Relaxed) == 1
    {
        HOLDER.store(0, Ordering::Release);
    }
}

fn pause(waited: &mut u32) {
    *waited += 1;
    if *waited < YIELDS {
        std::thread::yield_now();
    } else {
        std::thread::sleep(PAUSE);
    }
}

/// The same in a child as in the thread that forked it.
fn this_thread() -> usize {
    // SAFETY: no arguments, no failure.
    unsafe { libc::pthread_self() as usize }
}

unsafe extern "C" fn before() {
    FORKING.fetch_add(1, Ordering::Relaxed);
    let mut waited = 0;
    while waited < LONGEST && !try_hold(|| true) {
        pause(&mut waited);
    }
}

unsafe extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::Relaxed);
    release();
}

unsafe extern "C" fn in_child() {
    // No other thread lives on here.
    FORKING.store(0, Ordering::Relaxed);
    if HOLDER.load(Ordering::Relaxed) == this_thread() {
        release();
    } else {
        HOLDER.store(0, Ordering::Relaxed);
    }
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
