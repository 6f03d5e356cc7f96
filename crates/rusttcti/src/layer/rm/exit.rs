// SPDX-License-Identifier: BSD-2-Clause
//! The end of a process that did not finalize its contexts: what it loaded is
//! flushed, as the kernel's resource manager does when its device is closed.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::manager::{self, Manager};
use super::slots::{Progress, Task};
use crate::sys::deadline::{Deadline, retry_until};

/// How long the end of the process is put off at most.
const LONGEST: Duration = Duration::from_secs(2);

/// Has [`flush_all`] called at the end of the process, or when this library is
/// unloaded.
pub(super) fn prepare() {
    crate::sys::exit::before_end(flush_all);
}

/// Flushes what the clients of all TPMs loaded.
fn flush_all() {
    let deadline = Deadline::after(Some(LONGEST));
    for manager in manager::all(deadline) {
        manager.flush_all(deadline);
    }
}

impl Manager {
    /// Flushes what all clients loaded that have no command under way.
    fn flush_all(&self, deadline: Deadline) {
        // A signal handler that exits may have interrupted a thread that has the lock.
        let spaces = retry_until(deadline, || self.idle_spaces()).unwrap_or_default();
        for space in spaces {
            let left = deadline.remaining().unwrap_or(LONGEST);
            if let Err(error) = self.run(space, Task::Close, left) {
                crate::sys::log::debug!("rm: at the end of the process: {}", error.report());
            }
        }
    }

    /// Returns the clients without a command under way; `None` while another thread
    /// has the lock, and an empty list while any client has one.
    fn idle_spaces(&self) -> Option<Vec<usize>> {
        let state = self.try_lock()?;
        if state.turn.is_some() {
            return Some(Vec::new());
        }
        let is_idle = |space: &usize| {
            let slot = state.slots[*space].as_ref();
            slot.is_some_and(|slot| matches!(slot.progress, Progress::Idle) && slot.lane.is_some())
        };
        Some((0..state.slots.len()).filter(is_idle).collect())
    }
}
