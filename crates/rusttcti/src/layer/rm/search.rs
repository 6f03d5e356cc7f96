// SPDX-License-Identifier: BSD-2-Clause
//! Finds and flushes the objects and sessions that a killed process left loaded.
//!
//! Most of their handles are in the process's file. A handle that the TPM gave while
//! the process was killed is not: it is recognized because no process lists it. It is
//! flushed after it was seen several times in a row while no other process loaded
//! anything.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::engine::Engine;
use super::own_commands::{LOADED_SESSIONS, TRANSIENT};
use super::presence::Others;

/// How many times in a row a handle must be seen.
const SURE: u32 = 5;
/// The pause between two looks, while a client is opened.
const PAUSE: Duration = Duration::from_millis(2);
/// The most looks while a client is opened.
const MOST_LOOKS: u32 = 250;

/// A search for what a killed process left.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// How many times the lists are still to be searched.
    rounds: u32,
    /// Whether the lists that come are for the search.
    is_on: bool,
    looks: u32,
    /// The handles that running processes have loaded.
    live: Vec<u32>,
    /// The sessions that ended processes had saved, each with the count of resets. They
    /// are flushed once it is known that the TPM was not reset since.
    saved: Vec<(u32, u32)>,
    /// The handles that programs without this layer have loaded, as other processes
    /// found them.
    foreign: Vec<u32>,
    /// The handles that were found, and how many times in a row.
    found: Vec<(u32, u32)>,
}

impl Search {
    /// Returns whether the lists that come are for the search.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Ends the search's use of lists.
    pub(super) fn stop(&mut self) {
        self.is_on = false;
    }

    /// Returns whether a running process with this layer has this handle.
    pub(super) fn is_another_s(&self, handle: u32) -> bool {
        self.live.contains(&handle)
    }

    /// Returns the pause before the next look; `None` if there is none.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.rounds == 0 || self.looks >= MOST_LOOKS {
            return None;
        }
        self.looks += 1;
        Some(PAUSE)
    }
}

impl Engine {
    /// Returns whether the TPM's count of resets decides about saved sessions.
    pub(super) fn asks_for_resets(&self) -> bool {
        !self.search.saved.is_empty()
    }

    /// Begins to flush the sessions that ended processes had saved since the TPM's last
    /// reset. After another reset, their numbers may belong to other processes.
    pub(super) fn flush_saved(&mut self) {
        for (handle, resets) in std::mem::take(&mut self.search.saved) {
            if self.resets == Some(resets) && !self.is_known(handle) {
                self.strays.push(handle);
            }
        }
    }

    /// Takes the other processes' records. The handles of ended processes are
    /// flushed; a search begins for those that they had no time to write.
    pub(crate) fn take_others(&mut self, others: Others) {
        for handle in others.dead.handles {
            let is_ours = self.objects.at(handle).is_some() || self.sessions.get(handle).is_some();
            if !is_ours {
                self.strays.push(handle);
            }
        }
        let search = &mut self.search;
        search.live = others.live.handles;
        search.live.extend(others.live.saved);
        search.saved.extend(others.dead_saved);
        search.foreign.extend(others.dead.foreign);
        search.foreign.extend(others.live.foreign);
        search.foreign.sort_unstable();
        search.foreign.dedup();
        if others.dead.is_loading {
            search.rounds = SURE;
            search.looks = 0;
            search.found.clear();
        }
        if search.rounds > 0 && !others.live.is_loading {
            search.is_on = true;
            self.job.lists.clear();
            self.job.lists.extend([LOADED_SESSIONS, TRANSIENT]);
        }
    }

    /// Counts the handles that are loaded and belong to no process.
    pub(super) fn search_list(&mut self, first: u32, handles: &[u32]) {
        let unknown: Vec<_> = handles
            .iter()
            .copied()
            .filter(|handle| !self.is_known(*handle))
            .collect();
        let search = &mut self.search;
        let of_list = |handle: u32| (handle >> 24 == TRANSIENT >> 24) == (first == TRANSIENT);
        search
            .found
            .retain(|(handle, _)| !of_list(*handle) || unknown.contains(handle));
        for handle in unknown {
            match search.found.iter_mut().find(|(found, _)| *found == handle) {
                Some((_, times)) => *times += 1,
                None => search.found.push((handle, 1)),
            }
        }
        if first == LOADED_SESSIONS {
            search.is_on = false;
            search.rounds -= 1;
            if search.rounds == 0 {
                let sure = search.found.drain(..).filter(|(_, times)| *times >= SURE);
                self.strays.extend(sure.map(|(handle, _)| handle));
            }
        }
    }

    fn is_known(&self, handle: u32) -> bool {
        self.search.live.contains(&handle)
            || self.search.foreign.contains(&handle)
            || self.strays.contains(&handle)
            || self.objects.at(handle).is_some()
            || self.sessions.get(handle).is_some()
            || self.foreign().any(|foreign| foreign == handle)
    }
}
