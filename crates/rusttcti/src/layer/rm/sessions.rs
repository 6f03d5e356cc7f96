// SPDX-License-Identifier: BSD-2-Clause
//! The sessions of all clients. A session keeps its handle, whether it is loaded or
//! saved. HMAC and policy sessions share the numbers in the low 24 bits.

#![forbid(unsafe_code)]

use std::time::Instant;

/// The place where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Residence {
    /// In the TPM.
    Loaded,
    /// Saved by the engine; for the client it is loaded.
    Evicted,
    /// Saved by its client, which loads it again before it is used.
    Saved,
}

/// A session that one client started, or loaded from a context.
#[derive(Debug)]
pub(super) struct Session {
    /// The client that it belongs to.
    pub(super) space: usize,
    pub(super) handle: u32,
    pub(super) residence: Residence,
    /// The context that the TPM takes at present; empty while it is loaded.
    pub(super) context: Vec<u8>,
    /// The context that the client was given, while it is saved.
    pub(super) given: Vec<u8>,
    /// The TPM's count of saved sessions when it was saved last.
    pub(super) order: u64,
    /// The engine's count of uses at its last use.
    pub(super) used: u64,
    /// The time when it was started, or loaded from a context.
    pub(super) made: Instant,
    /// Whether it stays when its client goes.
    pub(super) sticky: bool,
}

impl Session {
    /// Makes the entry of a loaded session.
    pub(super) fn new(space: usize, handle: u32, used: u64) -> Self {
        Self {
            space,
            handle,
            residence: Residence::Loaded,
            context: Vec::new(),
            given: Vec::new(),
            order: 0,
            used,
            made: Instant::now(),
            sticky: false,
        }
    }
}

/// Returns the number of a session, which is the same for both types of handle.
pub(super) fn number(handle: u32) -> u32 {
    handle & 0x00ff_ffff
}

/// All sessions: at most as many as the TPM has active.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    list: Vec<Session>,
    /// The highest count of saved sessions that the TPM was seen to have.
    pub(super) newest: u64,
}

impl Sessions {
    /// Adds a session, and ends an older one of the same number.
    pub(super) fn insert(&mut self, session: Session) {
        self.remove(session.handle);
        self.list.push(session);
    }

    /// Ends the session of this number.
    pub(super) fn remove(&mut self, handle: u32) -> Option<Session> {
        let same = |session: &Session| number(session.handle) == number(handle);
        let at = self.list.iter().position(same)?;
        Some(self.list.swap_remove(at))
    }

    /// Returns the session of this number.
    pub(super) fn get(&self, handle: u32) -> Option<&Session> {
        let mut list = self.list.iter();
        list.find(|session| number(session.handle) == number(handle))
    }

    /// Returns the session of this number.
    pub(super) fn get_mut(&mut self, handle: u32) -> Option<&mut Session> {
        let mut list = self.list.iter_mut();
        list.find(|session| number(session.handle) == number(handle))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> + Clone {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.list.iter_mut()
    }

    /// Keeps the sessions for which `keep` is true.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Session) -> bool) {
        self.list.retain(keep);
    }

    /// Returns how many are loaded.
    pub(super) fn loaded(&self) -> usize {
        let mut count = 0;
        for session in &self.list {
            count += usize::from(session.residence == Residence::Loaded);
        }
        count
    }

    /// Notes that a session was saved, by the engine or by its client.
    pub(super) fn saved(&mut self, handle: u32, context: &[u8]) {
        let order = super::saved_context::order_of(context);
        self.newest = self.newest.max(order);
        if let Some(session) = self.get_mut(handle) {
            session.order = order;
            session.context.clear();
            session.context.extend_from_slice(context);
            if session.residence == Residence::Loaded {
                session.residence = Residence::Evicted;
            }
        }
    }

    /// Returns the least recently used of the loaded sessions for which `may_go` is
    /// true.
    pub(super) fn least_recent(&self, may_go: impl Fn(&Session) -> bool) -> Option<u32> {
        let loaded = |session: &&Session| session.residence == Residence::Loaded;
        let candidates = self.list.iter().filter(loaded);
        let candidates = candidates.filter(|session| !session.sticky && may_go(session));
        candidates
            .min_by_key(|session| session.used)
            .map(|session| session.handle)
    }

    /// Returns the saved session that was saved longest ago, of those before
    /// `before`.
    pub(super) fn oldest_saved(&self, before: u64) -> Option<&Session> {
        let saved = |session: &&Session| session.residence != Residence::Loaded;
        let old = self
            .list
            .iter()
            .filter(saved)
            .filter(|session| session.order < before);
        old.min_by_key(|session| session.order)
    }
}
