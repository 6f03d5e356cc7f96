// SPDX-License-Identifier: BSD-2-Clause
//! After another process was killed: what it left loaded is found and flushed.
//!
//! The handles that it told of are known. Of one that the TPM gave while the
//! process died, nothing is known but that no one has it: it is flushed once it
//! was seen so several times in a row, with no other process loading anything at
//! that moment.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::engine::Engine;
use super::own::{LOADED_SESSIONS, TRANSIENT};
use super::presence::Others;

/// How many times in a row a handle must be seen.
const SURE: u32 = 5;
/// How long is waited in between, while a client comes.
const PAUSE: Duration = Duration::from_millis(2);
/// How often is looked, while a client comes.
const MOST_LOOKS: u32 = 250;

/// A search for what a killed process left.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// How many times the lists are still to be looked through.
    rounds: u32,
    /// Whether the lists that come are for the search.
    is_on: bool,
    looks: u32,
    /// What processes that live have loaded.
    live: Vec<u32>,
    /// What programs without this layer have loaded, as other processes found it.
    foreign: Vec<u32>,
    /// What was found, and how many times in a row.
    found: Vec<(u32, u32)>,
}

impl Search {
    /// Returns whether the lists that come are for the search.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Notes that no lists for it are to come.
    pub(super) fn stop(&mut self) {
        self.is_on = false;
    }

    /// Returns whether a living process of this layer's has this handle.
    pub(super) fn is_another_s(&self, handle: u32) -> bool {
        self.live.contains(&handle)
    }

    /// Returns how long is waited before the next look; `None` once there is none.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.rounds == 0 || self.looks >= MOST_LOOKS {
            return None;
        }
        self.looks += 1;
        Some(PAUSE)
    }
}

impl Engine {
    /// Takes what is known of other processes. What the dead told of is flushed;
    /// what they did not come to tell is searched for.
    pub(crate) fn take_others(&mut self, others: Others) {
        for handle in others.dead.handles {
            let is_ours = self.objects.at(handle).is_some() || self.sessions.get(handle).is_some();
            if !is_ours {
                self.strays.push(handle);
            }
        }
        let search = &mut self.search;
        search.live = others.live.handles;
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

    /// Counts what is loaded and no one's.
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
