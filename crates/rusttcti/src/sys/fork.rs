// SPDX-License-Identifier: BSD-2-Clause
//! Detects a forked child without a system call for each command, closes descriptors in
//! the child, and delays a fork while another thread changes data that the child will
//! need.
//!
//! A handler that fork(2) runs in the child increments a number. A value that stores
//! this number when it is made ([`Generation`]) can tell later whether a fork came in
//! between. Other handlers keep all other threads out of [`without_fork`] from before
//! the fork until after it. glibc removes the handlers when this library is unloaded.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::Result;

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Whether the handlers are registered. It is not a lock, because another thread could
/// hold a lock at a fork, and the child would find it locked for ever. Two threads may
/// register at once; the second registration changes nothing.
static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Descriptors to be closed in each child; -1 marks a free entry.
static CLOSED_IN_CHILDREN: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];

/// A process among those that fork from each other: how many forks lie between
/// the first one and it, counted from the first use of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// Returns this process's.
    pub(crate) fn current() -> Self {
        register();
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Returns whether this is still the process that it was taken in. Costs one
    /// load.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    /// Fails in a forked child: what was opened before the fork is the parent's.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        match self.is_current() {
            true => Ok(()),
            false => Err(crate::contract::tcti::inherited()),
        }
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The generation of a value that a forked child may make its own.
#[derive(Debug)]
pub(crate) struct AtomicGeneration(AtomicU64);

impl AtomicGeneration {
    /// Returns one that holds this process's.
    pub(crate) fn current() -> Self {
        Self(AtomicU64::new(Generation::current().0))
    }

    #[inline]
    pub(crate) fn get(&self) -> Generation {
        Generation(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, generation: Generation) {
        self.0.store(generation.0, Ordering::Relaxed);
    }

    /// Makes it this process's. Returns whether it was another's.
    pub(crate) fn renew(&self) -> bool {
        let current = Generation::current();
        self.0.swap(current.0, Ordering::Relaxed) != current.0
    }

    /// Returns whether it is this process's.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.get().is_current()
    }

    /// Fails if it is another process's (see [`Generation::check`]).
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        self.get().check()
    }
}

/// A value for each generation, for statics with locks: a child must not wait for
/// a lock that another thread of its parent held at the time of the fork. Every
/// 64th generation shares a value.
pub(crate) struct PerGeneration<T>([T; GENERATIONS]);

const GENERATIONS: usize = 64;

impl<T> PerGeneration<T> {
    pub(crate) const fn new(values: [T; GENERATIONS]) -> Self {
        Self(values)
    }

    /// Returns this process's value.
    pub(crate) fn current(&self) -> &T {
        self.of(Generation::current())
    }

    pub(crate) fn of(&self, generation: Generation) -> &T {
        &self.0[(generation.0 % GENERATIONS as u64) as usize]
    }
}

fn register() {
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: `in_child` touches atomics and calls close(2) only; both are
        // allowed between fork and exec of a threaded process. The registration
        // ends with this library, so the pointers never dangle.
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
}

/// How many threads are in [`without_fork`] or have a [`NoFork`].
static WITHIN: AtomicUsize = AtomicUsize::new(0);
/// How many threads fork, or wait to do so. They have precedence over threads that
/// enter [`without_fork`], which may do so without a gap.
static FORKING: AtomicUsize = AtomicUsize::new(0);
/// How often a waiting thread yields before it sleeps.
const YIELDS: u32 = 100;
const PAUSE: Duration = Duration::from_micros(100);
/// How long a fork is delayed at most, in pauses. The thread in [`without_fork`] may
/// itself wait for the forking thread: for a lock of the loader, if the fork is in a
/// library's constructor, or, with glibc before 2.36, for the lock under which these
/// handlers are called.
const LONGEST: u32 = 10_000;

thread_local! {
    /// How deep this thread is in nested calls of [`without_fork`].
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Makes a change during which no fork happens, such as one to the loader's lists: a
/// child must never find it half done. Other threads may make changes at the same time.
/// A change must be short, because a fork waits for it.
pub(crate) fn without_fork<T>(change: impl FnOnce() -> T) -> T {
    let _no_fork = NoFork::enter();
    change()
}

/// Delays forks as [`without_fork`] does, until its thread drops it.
#[derive(Debug)]
pub(crate) struct NoFork(PhantomData<*const ()>);

impl NoFork {
    /// Delays forks from now on. Waits while another thread forks.
    pub(crate) fn enter() -> Self {
        register();
        if DEPTH.get() == 0 {
            enter();
        }
        DEPTH.set(DEPTH.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            WITHIN.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Counts this thread in while no thread forks. Announce first, then check: a
/// forking thread does so too, so one of the two always sees the other.
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

/// Returns what this thread adds to [`WITHIN`].
fn of_this_thread() -> usize {
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
    while waited < LONGEST && WITHIN.load(Ordering::SeqCst) > of_this_thread() {
        pause(&mut waited);
    }
}

unsafe extern "C" fn in_parent() {
    FORKING.fetch_sub(1, Ordering::SeqCst);
}

unsafe extern "C" fn in_child() {
    // The child has no other thread.
    FORKING.store(0, Ordering::SeqCst);
    WITHIN.store(of_this_thread(), Ordering::SeqCst);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for entry in &CLOSED_IN_CHILDREN {
        let fd = entry.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the owner keeps the descriptor open until it drops its
            // `ClosedInChildren`, so this is the child's copy of it. The owner's
            // own copy in the child checks the generation before it uses it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Closes a descriptor in each forked child, as O_CLOEXEC does in programs that
/// are executed. A file lock that the descriptor holds ends with this process,
/// however long its children live.
#[derive(Debug)]
pub(super) struct ClosedInChildren(Option<&'static AtomicI32>);

impl ClosedInChildren {
    /// Closes `fd` in each child that is forked until the value is dropped. Where
    /// all entries are taken it does nothing, and children inherit `fd`.
    ///
    /// The descriptor must be closed only after this value is dropped.
    pub(super) fn new(fd: std::os::fd::RawFd) -> Self {
        register();
        Self(CLOSED_IN_CHILDREN.iter().find(|entry| {
            entry
                .compare_exchange(-1, fd, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        }))
    }
}

impl Drop for ClosedInChildren {
    fn drop(&mut self) {
        if let Some(entry) = self.0 {
            entry.store(-1, Ordering::Relaxed);
        }
    }
}
