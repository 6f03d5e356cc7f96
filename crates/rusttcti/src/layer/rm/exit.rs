// SPDX-License-Identifier: BSD-2-Clause
//! Flushes what the clients of a process loaded, if the process ends without finalizing
//! its contexts.

#![forbid(unsafe_code)]

use super::connection::{Progress, Task};
use super::manager::Manager;
use crate::layer::exit::{LONGEST, Loaded};
use crate::sys::deadline::{Deadline, retry_until};

impl Loaded for Manager {
    /// Flushes what all clients loaded, unless one has a command under way.
    fn flush(&self, deadline: Deadline) {
        // A signal handler that exits may have interrupted a thread that has the lock.
        let spaces = retry_until(deadline, || self.idle_spaces()).unwrap_or_default();
        for space in spaces {
            let left = deadline.remaining().unwrap_or(LONGEST);
            if let Err(error) = self.run(space, Task::Close, left) {
                crate::sys::log::debug!("rm: at the end of the process: {}", error.report());
            }
        }
    }
}

impl Manager {
    /// Returns the clients without a command under way; `None` while another thread
    /// has the lock, and an empty list while any client has one.
    fn idle_spaces(&self) -> Option<Vec<usize>> {
        let state = self.try_lock()?;
        if state.turn.is_some() {
            return Some(Vec::new());
        }
        let is_idle = |space: &usize| {
            let slot = state.slots[*space].as_ref();
            slot.is_some_and(|slot| {
                matches!(slot.progress, Progress::Idle) && slot.connection.is_some()
            })
        };
        Some((0..state.slots.len()).filter(is_idle).collect())
    }
}
