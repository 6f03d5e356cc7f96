// SPDX-License-Identifier: BSD-2-Clause
//! Flushes what layers loaded into a TPM, if the process ends without finalizing its
//! contexts. The kernel's resource manager does so too when its device is closed.
//!
//! A layer registers each of its contexts. When the process exits, or this library is
//! unloaded, those that still exist are flushed, the last one first, because it may be
//! above an earlier one. A process that is killed flushes nothing.

#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::fork::{Generation, PerGeneration};
use crate::sys::locks::Mutex;

/// How long the end of the process is put off at most.
pub(super) const LONGEST: Duration = Duration::from_secs(2);

/// What a layer has loaded into a TPM, and flushes at the end of the process.
pub(super) trait Loaded: Send + Sync {
    /// Flushes it by the deadline. It sends nothing while a command is under way:
    /// a thread may be in the middle of it, or a signal handler that exits may have
    /// interrupted it. A second call has nothing to flush.
    fn flush(&self, deadline: Deadline);
}

type List = Vec<(Generation, Weak<dyn Loaded>)>;

/// What is flushed at the end of this process. Each process has a list of its own,
/// so a forked child finds its list unlocked and flushes nothing of its parent's.
static LISTS: PerGeneration<Mutex<List>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

/// Has `loaded` flushed at the end of this process, if it still exists then. Its
/// destructor must call [`forget`].
pub(super) fn register<T: Loaded + 'static>(loaded: &Arc<T>) {
    crate::sys::exit::before_end(flush_all);
    let generation = Generation::current();
    let mut list = LISTS.of(generation).lock();
    list.retain(|(_, known)| known.strong_count() > 0);
    let loaded: Weak<T> = Arc::downgrade(loaded);
    list.push((generation, loaded));
}

/// Removes what no longer exists from the list of the process that registered it.
pub(super) fn forget(generation: Generation) {
    // The list's memory would outlive this library. This does not wait for the lock,
    // because the thread that has it may be dropping the caller.
    if let Some(mut list) = LISTS.of(generation).try_lock() {
        list.retain(|(_, known)| known.strong_count() > 0);
        if list.is_empty() {
            *list = Vec::new();
        }
    }
}

/// Flushes all that this process registered.
fn flush_all() {
    let deadline = Deadline::after(Some(LONGEST));
    let list = LISTS.current();
    // A signal handler that exits may have interrupted a thread that has the lock.
    let loaded = retry_until(deadline, || {
        let list = list.try_lock()?;
        let own = list.iter().filter(|(process, _)| process.is_current());
        Some(own.filter_map(|(_, known)| known.upgrade()).collect())
    });
    let loaded: Vec<Arc<dyn Loaded>> = loaded.unwrap_or_default();
    for loaded in loaded.iter().rev() {
        loaded.flush(deadline);
    }
}
