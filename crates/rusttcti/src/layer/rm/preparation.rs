// SPDX-License-Identifier: BSD-2-Clause
//! The steps before a client's command is sent: they load the objects and sessions that
//! it names, and make room for those that it makes.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::capability::{MOST_HANDLES, write_handles};
use super::command::Makes;
use super::engine::{Engine, Entity, Go, PATIENCE, Phase, Position, Purpose, Renewal, Step};
use super::objects::Object;
use super::own_commands::{self, LOADED_SESSIONS, OwnCommand, SAVED_SESSIONS, TRANSIENT};
use super::sessions::Residence;
use crate::wire::{ResponseCode, capability, property};

impl Engine {
    /// Does one step before the client's command.
    pub(super) fn before(&mut self) -> Go {
        if self.job.budget == 0 {
            self.answer(self.job.refused.max(ResponseCode::RETRY));
            return Go::Again;
        }
        match self.job.purpose {
            Purpose::Command => self.before_command(),
            Purpose::Open { .. } => self.open(),
            Purpose::Close => self.close(),
            Purpose::Sticky { handle, sticky } => self.make_sticky(handle, sticky),
        }
    }

    fn before_command(&mut self) -> Go {
        let manages = !self.job.needs.is_empty() || self.job.makes != Makes::Nothing;
        if manages {
            if let Some(go) = self.check_up() {
                return go;
            }
        }
        if !self.job.lists.is_empty() && !std::mem::replace(&mut self.job.asked_clock, true) {
            return self.send(OwnCommand::Clock);
        }
        if let Some(list) = self.job.lists.last() {
            return self.send(OwnCommand::List(*list));
        }
        if let Some((first, count)) = self.job.asks {
            let view = self.view(first);
            write_handles(&mut self.job.response, &view, count);
            self.job.phase = Phase::After;
            return Go::Again;
        }
        if self.flush_unloaded() {
            return Go::Again;
        }
        let go = self.settle().or_else(|| self.load_needs());
        let go = go.or_else(|| self.make_room(self.job.makes));
        go.unwrap_or_else(|| self.send_client())
    }

    /// Asks the TPM what may have changed without this engine.
    fn check_up(&mut self) -> Option<Go> {
        if !self.learnt {
            return Some(self.send(OwnCommand::Properties));
        }
        if std::mem::take(&mut self.suspect) {
            self.job
                .lists
                .extend([SAVED_SESSIONS, LOADED_SESSIONS, TRANSIENT]);
        }
        if self.asks_for_resets() && !std::mem::replace(&mut self.job.asked_clock, true) {
            return Some(self.send(OwnCommand::Clock));
        }
        if self.job.lists.is_empty() {
            let stray = self.strays.last().copied()?;
            return Some(self.send(OwnCommand::FlushStray(stray)));
        }
        None
    }

    /// Goes on with the remedy for a refusal: renew a saved session, evict
    /// something, or unload everything.
    fn settle(&mut self) -> Option<Go> {
        if let Some(go) = self.renew() {
            return Some(go);
        }
        if let Some(kind) = self.job.lacks_room_for {
            return Some(self.relieve(kind));
        }
        if self.job.yields {
            return Some(self.yield_all());
        }
        None
    }

    /// Makes room after the TPM had none: evicts one object or session.
    fn relieve(&mut self, kind: Makes) -> Go {
        match self.evict(kind) {
            Some(go) => go,
            None if self.mode.share && self.job.refused != ResponseCode::SESSION_HANDLES => {
                self.job.lacks_room_for = None;
                self.job.yields = true;
                Go::Again
            }
            None => {
                self.answer(self.job.refused);
                Go::Again
            }
        }
    }

    /// Unloads everything, and waits for other programs to do so too.
    fn yield_all(&mut self) -> Go {
        if let Some(go) = self.unload_all() {
            return go;
        }
        self.job.yields = false;
        if self.job.waited >= PATIENCE {
            self.answer(self.job.refused);
            return Go::Again;
        }
        let pause = self.next_pause();
        self.job.waited += pause;
        Go::Step(Step::Wait(pause))
    }

    /// Returns the pause before another try. It is longer each time, and differs
    /// between processes.
    pub(super) fn next_pause(&mut self) -> Duration {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let longest =
            (self.job.waited / 4).clamp(Duration::from_millis(1), Duration::from_millis(40));
        let spread = (self.random % 1000) as u32;
        longest / 2 + longest * spread / 1000
    }

    /// Loads what the command needs, if it is not loaded yet.
    fn load_needs(&mut self) -> Option<Go> {
        for at in 0..self.job.needs.len() {
            let need = self.job.needs[at];
            let refusal = need.position.refusal();
            match need.entity {
                Entity::Object(id) => match self.objects.get(id) {
                    None => return Some(self.refuse_with(refusal)),
                    Some(object) if object.real().is_some() => {}
                    Some(_) => return Some(self.load_object(id)),
                },
                Entity::Session(handle) => match self.sessions.get(handle) {
                    None => return Some(self.refuse_with(refusal)),
                    Some(session) if session.residence == Residence::Loaded => {}
                    // A TPM flushes saved sessions too. If others use the TPM, the
                    // session is loaded first: only that shows that it is still this
                    // client's.
                    Some(_) if need.position == Position::Flushed && !self.mode.share => {}
                    Some(_) => return Some(self.load_session(handle)),
                },
                Entity::Foreign(_) => {}
            }
        }
        None
    }

    fn refuse_with(&mut self, code: ResponseCode) -> Go {
        self.answer(code);
        Go::Again
    }

    pub(super) fn load_object(&mut self, id: usize) -> Go {
        match self.make_room(Makes::Object) {
            Some(go) => go,
            None => self.send(OwnCommand::LoadObject(id)),
        }
    }

    pub(super) fn load_session(&mut self, handle: u32) -> Go {
        match self.make_room(Makes::Session) {
            Some(go) => go,
            None => self.send(OwnCommand::LoadSession(handle)),
        }
    }

    /// Makes room for one more, if the TPM is known to have none.
    fn make_room(&mut self, kind: Makes) -> Option<Go> {
        let (used, room) = match kind {
            Makes::Nothing => return None,
            Makes::Object => (self.objects_used(), self.room),
            Makes::Session => (self.sessions_used(), self.session_room),
        };
        if used < room.known || !room.is_all || (self.mode.share && !self.mode.kernel) {
            return None;
        }
        let code = match kind {
            Makes::Session => ResponseCode::SESSION_MEMORY,
            _ => ResponseCode::OBJECT_MEMORY,
        };
        match self.evict(kind) {
            None if self.mode.kernel => {
                self.give_up(code);
                Some(Go::Again)
            }
            other => other,
        }
    }

    /// Returns how many of the TPM's places for objects are taken, as far as is
    /// known.
    pub(super) fn objects_used(&self) -> usize {
        self.objects.loaded().len() + self.foreign_count(TRANSIENT >> 24)
    }

    /// Returns how many of the TPM's places for loaded sessions are taken, as far
    /// as is known.
    pub(super) fn sessions_used(&self) -> usize {
        let foreign =
            [LOADED_SESSIONS, SAVED_SESSIONS].map(|first| self.foreign_count(first >> 24));
        self.sessions.loaded() + foreign[0] + foreign[1]
    }

    /// Returns how many handles of a type were loaded before the first client. Each
    /// later client found all of them.
    fn foreign_count(&self, kind: u32) -> usize {
        let of_kind = |space: &super::spaces::Space| {
            space
                .foreign
                .iter()
                .filter(|handle| **handle >> 24 == kind)
                .count()
        };
        self.spaces.iter().flatten().map(of_kind).max().unwrap_or(0)
    }

    /// Evicts the least recently used object or session that the command does not
    /// need.
    pub(super) fn evict(&mut self, kind: Makes) -> Option<Go> {
        let session = |engine: &mut Self| {
            let handle = engine.session_to_evict()?;
            Some(engine.send(OwnCommand::SaveSession(handle)))
        };
        let object = |engine: &mut Self| {
            let id = engine.object_to_evict()?;
            Some(engine.unload_object(id))
        };
        match kind {
            Makes::Session => session(self),
            // TPM_RC_MEMORY means objects or sessions.
            _ if self.job.refused == ResponseCode::MEMORY => object(self).or_else(|| session(self)),
            _ => object(self),
        }
    }

    /// Returns whether something could be evicted.
    pub(super) fn can_evict(&self, kind: Makes) -> bool {
        match kind {
            Makes::Session => self.session_to_evict().is_some(),
            _ if self.job.refused == ResponseCode::MEMORY => {
                self.object_to_evict().is_some() || self.session_to_evict().is_some()
            }
            _ => self.object_to_evict().is_some(),
        }
    }

    fn object_to_evict(&self) -> Option<usize> {
        let needed = |id| {
            self.job
                .needs
                .iter()
                .any(|need| need.entity == Entity::Object(id))
        };
        self.objects.least_recent(|id, _: &Object| !needed(id))
    }

    fn session_to_evict(&self) -> Option<u32> {
        let needs = &self.job.needs;
        let renewed = self.job.renewal.map(|renewal| renewal.handle);
        self.sessions.least_recent(|session| {
            let this = Entity::Session(session.handle);
            renewed != Some(session.handle) && !needs.iter().any(|need| need.entity == this)
        })
    }

    /// Saves an object if its context is not up to date, and flushes it otherwise.
    pub(super) fn unload_object(&mut self, id: usize) -> Go {
        let is_saved = self
            .objects
            .get(id)
            .is_some_and(|object| !object.context.is_empty());
        self.send(match is_saved {
            true => OwnCommand::FlushObject(id),
            false => OwnCommand::SaveObject(id),
        })
    }

    /// Unloads everything that can be unloaded.
    pub(super) fn unload_all(&mut self) -> Option<Go> {
        if let Some(handle) = self.sessions.least_recent(|_| true) {
            return Some(self.send(OwnCommand::SaveSession(handle)));
        }
        let id = self.objects.least_recent(|_, _| true)?;
        Some(self.unload_object(id))
    }

    /// Goes on with a renewal: the session is loaded, then saved again.
    pub(super) fn renew(&mut self) -> Option<Go> {
        let Renewal { handle, .. } = self.job.renewal?;
        match self.sessions.get(handle).map(|session| session.residence) {
            None => {
                self.job.renewal = None;
                None
            }
            Some(Residence::Loaded) => Some(self.send(OwnCommand::SaveSession(handle))),
            Some(_) => Some(self.load_session(handle)),
        }
    }

    /// Begins to renew the session that was saved longest ago; false if this job
    /// has renewed all that it may.
    pub(super) fn begin_renewal(&mut self) -> bool {
        let Some(session) = self.sessions.oldest_saved(self.job.renew_before) else {
            return false;
        };
        self.job.renewal = Some(Renewal {
            handle: session.handle,
            residence: session.residence,
        });
        true
    }

    /// Sends the client's command.
    fn send_client(&mut self) -> Go {
        for at in 0..self.job.needs.len() {
            if let Entity::Object(id) = self.job.needs[at].entity {
                // The command changes a sequence, whatever the response says.
                if let Some(object) = self.objects.get_mut(id).filter(|object| object.changes) {
                    object.context.clear();
                }
            }
        }
        self.translate();
        self.job.own = None;
        self.job.phase = Phase::Sent;
        Go::Step(Step::Client)
    }

    /// Writes a command of the engine's own.
    pub(super) fn write_own(&mut self, command: OwnCommand) {
        let out = &mut self.out;
        let real = |id| {
            self.objects
                .get(id)
                .and_then(Object::real)
                .unwrap_or_default()
        };
        match command {
            OwnCommand::SaveObject(id) => own_commands::save(out, real(id)),
            OwnCommand::FlushObject(id) => own_commands::flush(out, real(id)),
            OwnCommand::LoadObject(id) => {
                let context = self.objects.get(id).map(|object| &object.context[..]);
                own_commands::load(out, context.unwrap_or_default());
            }
            OwnCommand::SaveSession(handle) => own_commands::save(out, handle),
            OwnCommand::LoadSession(handle) => {
                let context = self
                    .sessions
                    .get(handle)
                    .map(|session| &session.context[..]);
                own_commands::load(out, context.unwrap_or_default());
            }
            OwnCommand::FlushSession(handle) | OwnCommand::FlushStray(handle) => {
                own_commands::flush(out, handle)
            }
            OwnCommand::Clock => own_commands::clock(out),
            OwnCommand::List(first) => {
                own_commands::capability(out, capability::HANDLES, first, MOST_HANDLES)
            }
            OwnCommand::Properties => {
                let first = property::HR_TRANSIENT_MIN;
                let count = property::CONTEXT_GAP_MAX - first + 1;
                own_commands::capability(out, capability::TPM_PROPERTIES, first, count);
            }
        }
    }
}
