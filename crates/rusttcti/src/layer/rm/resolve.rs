// SPDX-License-Identifier: BSD-2-Clause
//! Handles in a client's command, resolved to objects and sessions, and translated
//! to the TPM's handles.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::command::{Command, Makes};
use super::engine::{Engine, Entity, Need, Position};
use super::own_commands::{LOADED_SESSIONS, SAVED_SESSIONS, TRANSIENT};
use super::sessions::Residence;
use crate::wire::{Blamed, CommandCode, HandleKind, HandleView, Header, ResponseCode, capability};

/// The types of handles (TPM_HT) that the engine manages.
const HMAC_SESSION: u32 = 2;
const POLICY_SESSION: u32 = 3;
const TRANSIENT_OBJECT: u32 = 0x80;

/// Returns whether a handle is of a type that the command takes there. If it is not,
/// the TPM refuses the command before it looks for what the handle stands for.
fn may_stand_for(view: HandleView) -> bool {
    let kind = view.info.kind;
    match view.handle.0 >> 24 {
        TRANSIENT_OBJECT => kind.may_be_object(),
        HMAC_SESSION => kind.may_be_session() && kind != HandleKind::PolicySession,
        POLICY_SESSION => kind.may_be_session() && kind != HandleKind::HmacSession,
        _ => true,
    }
}

impl Engine {
    /// Reads the client's command: what it needs and what it makes. A command with
    /// a handle that means nothing is answered here.
    pub(super) fn read_command(&mut self) {
        let bytes = std::mem::take(&mut self.job.command);
        if let Some(command) = Command::parse(&bytes) {
            self.job.code = command.code();
            self.job.makes = command.makes();
            self.job.has_sessions = command.has_sessions();
            self.job.flushes = command.flushes();
            self.job.asks = asks_for_handles(command);
            let wrong = command.handles().position(|view| !may_stand_for(view));
            if let Some(n) = wrong {
                let blamed = Blamed::Handle(n as u8 + 1);
                self.answer(ResponseCode::VALUE.blaming(blamed));
            }
            for (n, view) in command.handles().enumerate() {
                self.need(view.handle.0, Position::Handle(n));
            }
            for (n, (session, goes_on)) in command.sessions().enumerate() {
                self.need(session.0, Position::Authorization(n, goes_on));
            }
            let flushed = command
                .flushed_parameter()
                .filter(|_| !command.has_sessions());
            if let Some(handle) = flushed {
                self.need(handle.0, Position::Flushed);
            }
        }
        self.job.command = bytes;
        if let Some((first, _)) = self.job.asks {
            self.list_for(first);
        }
        self.touch();
    }

    /// Notes the meaning of a handle of the command.
    fn need(&mut self, handle: u32, position: Position) {
        let entity = match handle >> 24 {
            TRANSIENT_OBJECT => self.object_of(handle),
            HMAC_SESSION | POLICY_SESSION => self.session_of(handle, position),
            _ => return,
        };
        match entity {
            Some(entity) => self.job.needs.push(Need { entity, position }),
            None if !self.is_refused() => self.answer(position.refusal()),
            None => {}
        }
    }

    /// Returns whether the command was answered here.
    fn is_refused(&self) -> bool {
        self.job.phase == super::engine::Phase::After
    }

    fn object_of(&self, handle: u32) -> Option<Entity> {
        let space = self.space()?;
        match space.object(handle) {
            Some(id) => Some(Entity::Object(id)),
            None => self.foreign_of(handle),
        }
    }

    /// Finds a session of the client's. Only FlushContext may name a saved one.
    fn session_of(&self, handle: u32, position: Position) -> Option<Entity> {
        let own = self
            .sessions
            .get(handle)
            .filter(|session| session.space == self.job.space);
        match own {
            Some(session) if position == Position::Flushed => Some(Entity::Session(session.handle)),
            Some(session) if session.handle != handle => None,
            Some(session) if session.residence == Residence::Saved => None,
            Some(_) => Some(Entity::Session(handle)),
            None => self.foreign_of(handle),
        }
    }

    fn foreign_of(&self, handle: u32) -> Option<Entity> {
        let is_known = self.space()?.foreign.contains(&handle);
        is_known.then_some(Entity::Foreign(handle))
    }

    /// Notes the use of the objects and sessions that the command needs.
    fn touch(&mut self) {
        let now = self.clock;
        for need in &self.job.needs {
            match need.entity {
                Entity::Object(id) => {
                    if let Some(object) = self.objects.get_mut(id) {
                        object.used = now;
                    }
                }
                Entity::Session(handle) => {
                    if let Some(session) = self.sessions.get_mut(handle) {
                        session.used = now;
                    }
                }
                Entity::Foreign(_) => {}
            }
        }
    }

    /// Requests the lists that show what has vanished.
    fn list_for(&mut self, first: u32) {
        match first >> 24 {
            TRANSIENT_OBJECT => self.job.lists.push(TRANSIENT),
            _ => self.job.lists.extend([LOADED_SESSIONS, SAVED_SESSIONS]),
        }
    }

    /// Returns the client's handles from `first` on, in order.
    pub(super) fn view(&self, first: u32) -> Vec<u32> {
        let Some(space) = self.space() else {
            return Vec::new();
        };
        if first >> 24 == TRANSIENT_OBJECT {
            let foreign = space.foreign.iter().copied();
            let mut handles: Vec<_> = foreign
                .filter(|handle| handle >> 24 == TRANSIENT_OBJECT)
                .chain(space.objects().map(|(handle, _)| handle))
                .filter(|handle| *handle >= first)
                .collect();
            handles.sort_unstable();
            return handles;
        }
        self.sessions_view(first)
    }

    /// Returns the client's sessions that it sees as loaded, or as saved, ordered
    /// by their numbers. A TPM lists all saved sessions as HMAC sessions.
    fn sessions_view(&self, first: u32) -> Vec<u32> {
        let wants_saved = first >> 24 == SAVED_SESSIONS >> 24;
        let listed = |session: &&super::sessions::Session| {
            session.space == self.job.space
                && (session.residence == Residence::Saved) == wants_saved
                && super::sessions::number(session.handle) >= super::sessions::number(first)
        };
        let mut handles: Vec<_> = self
            .sessions
            .iter()
            .filter(listed)
            .map(|session| match wants_saved {
                true => LOADED_SESSIONS | super::sessions::number(session.handle),
                false => session.handle,
            })
            .collect();
        handles.sort_unstable_by_key(|handle| super::sessions::number(*handle));
        handles
    }

    /// Writes the client's command with the TPM's handles, when all that it needs
    /// is loaded.
    pub(super) fn translate(&mut self) {
        self.out.clear();
        let renewed = self.renewed_context();
        match renewed {
            Some(handle) => {
                let context = self
                    .sessions
                    .get(handle)
                    .map(|session| &session.context[..]);
                super::own_commands::load(&mut self.out, context.unwrap_or_default());
            }
            None => self.out.extend_from_slice(&self.job.command),
        }
        for need in &self.job.needs {
            let at = match need.position {
                Position::Handle(n) => Header::SIZE + 4 * n,
                Position::Flushed => Header::SIZE,
                Position::Authorization(..) => continue,
            };
            let real = match need.entity {
                Entity::Object(id) => self.objects.get(id).and_then(|object| object.real()),
                Entity::Session(handle) | Entity::Foreign(handle) => Some(handle),
            };
            if let (Some(real), Some(place)) = (real, self.out.get_mut(at..at + 4)) {
                place.copy_from_slice(&real.to_be_bytes());
            }
        }
    }

    /// Returns the session whose context the client loads, if the engine had to
    /// renew that context since the client got it.
    fn renewed_context(&self) -> Option<u32> {
        if self.job.code != CommandCode::CONTEXT_LOAD || self.job.makes != Makes::Session {
            return None;
        }
        let context = self.command()?.parameters();
        let saved = |session: &&super::sessions::Session| {
            session.residence == Residence::Saved
                && session.given == context
                && session.given != session.context
        };
        self.sessions
            .iter()
            .find(saved)
            .map(|session| session.handle)
    }

    /// Changes a property of the TPM's to the value that holds for the client.
    pub(super) fn property_view(&self, property: u32, value: u32) -> u32 {
        use crate::wire::property::*;
        /// The number of objects for which, as a client sees it, there is room.
        const MANY: u32 = 0x00ff;
        let own = |count: &dyn Fn(&super::sessions::Session) -> bool| {
            let mine = self.sessions.iter().filter(|s| s.space == self.job.space);
            mine.filter(|session| count(session)).count() as u32
        };
        match property {
            HR_TRANSIENT_MIN | HR_TRANSIENT_AVAIL => MANY,
            CONTEXT_GAP_MAX => u32::MAX,
            HR_LOADED_MIN | HR_LOADED_AVAIL => value.max(MOST_SESSIONS),
            HR_LOADED => own(&|session| session.residence != Residence::Saved),
            HR_ACTIVE => own(&|_| true),
            _ => value,
        }
    }

    /// Answers FlushContext of an object that is not loaded, without the TPM.
    /// Returns whether the command was that.
    pub(super) fn flush_unloaded(&mut self) -> bool {
        let Some(Need {
            entity: Entity::Object(id),
            position: Position::Flushed,
        }) = self.job.needs.first().copied()
        else {
            return false;
        };
        if self
            .objects
            .get(id)
            .is_none_or(|object| object.real().is_some())
        {
            return false;
        }
        self.flushed(id);
        self.answer(ResponseCode::SUCCESS);
        true
    }

    /// Removes an object that its client flushed.
    pub(super) fn flushed(&mut self, id: usize) {
        if let Some(object) = self.objects.remove(id) {
            if let Some(Some(space)) = self.spaces.get_mut(object.space) {
                space.take_back(object.handle);
            }
        }
    }

    /// Removes an object that is gone.
    pub(super) fn lose(&mut self, id: usize) {
        if let Some(object) = self.objects.remove(id) {
            if let Some(Some(space)) = self.spaces.get_mut(object.space) {
                space.lose(object.handle);
            }
        }
    }

    /// Removes what a handle of the TPM's meant: the TPM has given it to something
    /// else.
    pub(super) fn claim(&mut self, real: u32) {
        if let Some(id) = self.objects.at(real) {
            self.unloaded(id);
        }
        self.forget_foreign(real);
        self.strays.retain(|stray| *stray != real);
    }

    /// Notes that an object isn't loaded any more; without a context it is lost.
    pub(super) fn unloaded(&mut self, id: usize) {
        self.objects.set_real(id, None);
        if self
            .objects
            .get(id)
            .is_some_and(|object| object.context.is_empty())
        {
            self.lose(id);
        }
    }

    pub(super) fn forget_foreign(&mut self, handle: u32) {
        for space in self.spaces.iter_mut().flatten() {
            space.foreign.retain(|other| *other != handle);
        }
    }

    /// Removes all that a restart of the TPM, so long ago, ended: everything older
    /// that the clients take for loaded. Sessions that clients saved may live on.
    pub(crate) fn restarted(&mut self, ago: Duration) {
        let is_older = |made: Instant| made.elapsed() >= ago;
        let ids: Vec<_> = self.objects.ids().collect();
        for id in ids {
            if self.objects.get(id).is_some_and(|o| is_older(o.made)) {
                self.lose(id);
            }
        }
        let mut newest = 0;
        for session in self.sessions.iter() {
            if !is_older(session.made) {
                newest = newest.max(session.order);
            } else if session.residence == Residence::Evicted && !self.mode.share {
                // If others use the TPM, they may have its number by now.
                self.strays.push(session.handle);
            }
        }
        self.sessions
            .retain(|session| session.residence == Residence::Saved || !is_older(session.made));
        self.sessions.newest = newest;
        self.resets = None;
        for space in self.spaces.iter_mut().flatten() {
            space.foreign.clear();
        }
    }

    /// Goes on in a forked child with the saved objects. The TPM's handles and the
    /// sessions stay the parent's.
    pub(crate) fn enter_child(&mut self) {
        let ids: Vec<_> = self.objects.ids().collect();
        for id in ids {
            self.unloaded(id);
        }
        self.sessions.retain(|_| false);
        self.strays.clear();
        self.search = Default::default();
        self.suspect = false;
        self.orphans = false;
        self.finish();
    }

    /// Prepares for the next job after a failure on the way. A handle may be
    /// another program's by now, so loaded objects are flushed, and loaded again
    /// from their contexts.
    pub(super) fn distrust_loaded(&mut self) {
        for id in self.objects.loaded().to_vec() {
            self.strays
                .extend(self.objects.get(id).and_then(|object| object.real()));
            self.unloaded(id);
        }
    }
}

/// The number of sessions that may be active in common TPMs.
const MOST_SESSIONS: u32 = 64;

/// Returns the first handle that a client asks for, and how many, if the engine
/// answers that command.
fn asks_for_handles(command: Command<'_>) -> Option<(u32, u32)> {
    if command.code() != CommandCode::GET_CAPABILITY || command.has_sessions() {
        return None;
    }
    let parameters: &[u8; 12] = command.parameters().try_into().ok()?;
    let word = |at: usize| {
        let bytes = parameters[at..].first_chunk();
        bytes.map(|bytes| u32::from_be_bytes(*bytes))
    };
    let (wanted, first, count) = (word(0)?, word(4)?, word(8)?);
    let is_ours = matches!(
        first >> 24,
        HMAC_SESSION | POLICY_SESSION | TRANSIENT_OBJECT
    );
    (wanted == capability::HANDLES && is_ours).then_some((first, count))
}
