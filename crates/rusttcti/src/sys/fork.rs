// SPDX-License-Identifier: BSD-2-Clause
//! Telling a forked child from its parent without a system call per command,
//! and keeping what a child needs whole while a fork is under way.
//!
//! A handler that fork(2) runs in the child counts a number up; whoever keeps
//! the number that was there when it began knows whether it crossed a fork.
//! Other handlers keep all other threads out of [`whole`] from before the fork
//! until after it. glibc forgets the handlers when this library is unloaded.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::Result;

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
    match generation == current() {
        true => Ok(()),
        false => Err(crate::contract::tcti::inherited()),
    }
}

/// How many threads are within [`whole`].
static WITHIN: AtomicUsize = AtomicUsize::new(0);
/// How many threads fork, or wait in order to. They come before those who enter
/// [`whole`], who may follow each other without a gap.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// How often one who waits only yields, before it sleeps.
const YIELDS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(100);
/// How long a fork is put off at most, in pauses. Who loads a library may wait
/// for a lock of the loader that the forking thread has (it forks in a
/// library's constructor), or, with glibc before 2.36, for the one under which
/// these handlers are called.
const LONGEST: u32 = 10_000;

thread_local! {
    /// How many times over this thread is within [`whole`].
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Makes a change that a child must never find half done, such as one to the
/// loader's lists: no fork comes in between. Other threads may make theirs at
/// the same time. To be kept short.
pub(crate) fn whole<T>(change: impl FnOnce() -> T) -> T {
    let _whole = Whole::enter();
    change()
}

/// A change that a child must never find half done, from [`enter`](Self::enter)
/// to the drop, by one thread.
#[derive(Debug)]
pub(crate) struct Whole(PhantomData<*const ()>);

impl Whole {
    /// Begins a change: waits while another thread forks.
    pub(crate) fn enter() -> Self {
        generation();
        if DEPTH.get() == 0 {
            enter();
        }
        DEPTH.set(DEPTH.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            WITHIN.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Counts this thread in, when nobody forks. One who forks says so before it
/// looks who is within, and one who enters the other way round, so that never
/// both go on.
fn enter() {
    let mut waited = 0;
    loop {
        WITHIN.fetch_add(1, Ordering::SeqCst);
        if FORKING.load(Ordering::SeqCst) == 0 {
            return;
        }
        WITHIN.fetch_sub(1, Ordering::SeqCst);
        while FORKING.load(Ordering::SeqCst) != 0 {
            pause(&mut waited);
        }
    }
}

/// What this thread adds to [`WITHIN`].
fn own() -> usize {
    DEPTH.get().min(1)
}

fn pause(waited: &mut u32) {
    *waited += 1;
    if *waited < YIELDS {
        std::thread::yield_now();
    } else {
        std::thread::sleep(PAUSE);
    }
}

unsafe extern "C" fn before() {
    FORKING.fetch_add(1, Ordering::SeqCst);
    let mut waited = 0;
    while waited < LONGEST && WITHIN.load(Ordering::SeqCst) > own() {
        pause(&mut waited);
    }
}

unsafe extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

unsafe extern "C" fn in_child() {
    // No other thread lives on here.
    FORKING.store(0, Ordering::SeqCst);
    WITHIN.store(own(), Ordering::SeqCst);
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
