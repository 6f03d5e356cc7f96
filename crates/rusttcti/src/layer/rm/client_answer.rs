// SPDX-License-Identifier: BSD-2-Clause
//! The TPM's response to a client's command: it changes the engine's tables, and is
//! translated for the client.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::capability;
use super::command::Makes;
use super::engine::{Engine, Entity, Need, Phase, Position};
use super::objects::Object;
use super::saved_context;
use super::sessions::{Residence, Session};
use crate::wire::{CommandCode, Handle, Header, ResponseCode, tag};

/// How often a command may find that something which it needs is not loaded after
/// all.
const MOST_RELOADS: u32 = 8;

impl Engine {
    /// Takes the TPM's response to the client's command, and rewrites it for the
    /// client; false if the command is to be sent again.
    pub(super) fn take_client_response(&mut self, response: &mut [u8]) -> bool {
        let Some(header) = Header::parse(response) else {
            return true;
        };
        match ResponseCode(header.code) {
            ResponseCode::SUCCESS => {
                self.succeeded(response);
                true
            }
            code => !self.tries_again(code),
        }
    }

    /// Returns whether the command is tried again after this code.
    fn tries_again(&mut self, code: ResponseCode) -> bool {
        self.job.refused = code;
        let again = match code {
            ResponseCode::OBJECT_MEMORY | ResponseCode::OBJECT_HANDLES | ResponseCode::MEMORY => {
                self.finds_no_room(Makes::Object)
            }
            ResponseCode::SESSION_MEMORY | ResponseCode::SESSION_HANDLES => {
                self.finds_no_room(Makes::Session)
            }
            ResponseCode::CONTEXT_GAP => self.begin_renewal(),
            _ => self.finds_unloaded(code),
        };
        if again {
            self.job.phase = Phase::Before;
        }
        again
    }

    fn finds_no_room(&mut self, kind: Makes) -> bool {
        if self.job.makes == kind || self.objects_used() >= self.room.known {
            self.is_full(kind);
        }
        let waits = self.mode.share
            && self.job.refused != ResponseCode::SESSION_HANDLES
            && self.job.waited < super::engine::PATIENCE;
        let again = self.can_evict(kind) || waits;
        match again {
            true => self.job.lacks_room_for = Some(kind),
            false => self.warn_of_leftovers(kind),
        }
        again
    }

    /// Warns once that objects or sessions from before this program fill the TPM, and
    /// names the remedy.
    fn warn_of_leftovers(&mut self, kind: Makes) {
        let is_of_kind = |handle: &u32| (handle >> 24 == 0x80) == (kind == Makes::Object);
        let count = self.foreign().filter(is_of_kind).count();
        if count == 0 || std::mem::replace(&mut self.warned_of_leftovers, true) {
            return;
        }
        let what = match kind {
            Makes::Object => "objects",
            _ => "sessions",
        };
        crate::sys::log::warning!(
            "rm: the TPM has no room for the command. {count} {what} were loaded before this \
             program began, and the layer does not remove these (rm,leftovers=flush flushes them)"
        );
    }

    /// Handles a refusal that blames a handle or a session which the TPM does not
    /// have any more. Returns whether the object can be loaded again.
    fn finds_unloaded(&mut self, code: ResponseCode) -> bool {
        let blamed =
            |need: &&Need| need.position != Position::Flushed && need.position.refusal() == code;
        let Some(need) = self.job.needs.iter().find(blamed).copied() else {
            return false;
        };
        match need.entity {
            Entity::Object(id) => {
                self.unloaded(id);
                self.job.reloads += 1;
                self.objects.get(id).is_some() && self.job.reloads < MOST_RELOADS
            }
            Entity::Session(handle) => {
                self.sessions.remove(handle);
                false
            }
            Entity::Foreign(handle) => {
                self.forget_foreign(handle);
                false
            }
        }
    }

    fn succeeded(&mut self, response: &mut [u8]) {
        self.end_sessions();
        match self.job.makes {
            Makes::Nothing => {}
            Makes::Object => self.made_object(response),
            Makes::Session => self.made_session(response),
        }
        if let Some(n) = self.job.flushes {
            self.end_needed(Position::Handle(n));
        }
        match self.job.code {
            CommandCode::FLUSH_CONTEXT => self.end_needed(Position::Flushed),
            CommandCode::CONTEXT_SAVE => self.client_saved(response),
            CommandCode::STARTUP => {
                self.restarted(Duration::ZERO);
                self.learnt = false;
            }
            CommandCode::SHUTDOWN => self.suspect = true,
            CommandCode::CLEAR => self.end_hierarchies(&[Handle::OWNER.0, Handle::ENDORSEMENT.0]),
            CommandCode::CHANGE_EPS => self.end_hierarchies(&[Handle::ENDORSEMENT.0]),
            CommandCode::CHANGE_PPS => self.end_hierarchies(&[Handle::PLATFORM.0]),
            CommandCode::HIERARCHY_CONTROL => {
                if let Some(hierarchy) = self.command().and_then(|command| command.disables()) {
                    self.end_hierarchies(&[hierarchy]);
                }
            }
            CommandCode::GET_CAPABILITY => self.show_properties(response),
            _ => {}
        }
        self.note_fit();
    }

    /// Ends the sessions that the command used for the last time.
    fn end_sessions(&mut self) {
        for at in 0..self.job.needs.len() {
            let Need {
                entity,
                position: Position::Authorization(_, false),
            } = self.job.needs[at]
            else {
                continue;
            };
            match entity {
                Entity::Session(handle) => {
                    self.sessions.remove(handle);
                }
                Entity::Foreign(handle) => self.forget_foreign(handle),
                Entity::Object(_) => {}
            }
        }
    }

    /// Gives a virtual handle to the object that was made.
    fn made_object(&mut self, response: &mut [u8]) {
        let Some(place) = response.get_mut(Header::SIZE..Header::SIZE + 4) else {
            return;
        };
        let Some(real) = place.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
            return;
        };
        self.claim(real);
        let space = self.job.space;
        let command = self.command();
        let changes = command.is_some_and(|command| command.makes_sequence());
        let mut object = Object::new(space, 0, changes, self.clock);
        if let Some(command) = command.filter(|command| command.code() == CommandCode::CONTEXT_LOAD)
        {
            object.context.extend_from_slice(command.parameters());
        }
        let id = self.objects.insert(object);
        self.objects.set_real(id, Some(real));
        let handle = self
            .spaces
            .get_mut(space)
            .and_then(|space| space.as_mut()?.give(id));
        let Some(handle) = handle else {
            self.objects.remove(id);
            self.strays.push(real);
            // A handle that means nothing, because there are no virtual handles left.
            place.copy_from_slice(&u32::MAX.to_be_bytes());
            return;
        };
        if let Some(object) = self.objects.get_mut(id) {
            object.handle = handle;
        }
        self.job.made = Some(id);
        place.copy_from_slice(&handle.to_be_bytes());
    }

    fn made_session(&mut self, response: &[u8]) {
        let Some(bytes) = response
            .get(Header::SIZE..)
            .and_then(|rest| rest.first_chunk())
        else {
            return;
        };
        let handle = u32::from_be_bytes(*bytes);
        self.forget_foreign(handle);
        self.sessions
            .insert(Session::new(self.job.space, handle, self.clock));
    }

    /// Removes the object or session that the command flushed.
    fn end_needed(&mut self, position: Position) {
        let flushed = self.job.needs.iter().find(|need| need.position == position);
        match flushed.map(|need| need.entity) {
            Some(Entity::Object(id)) => self.flushed(id),
            Some(Entity::Session(handle)) => {
                self.sessions.remove(handle);
            }
            Some(Entity::Foreign(handle)) => self.forget_foreign(handle),
            None => {}
        }
    }

    /// Notes that the client saved a session, which it keeps itself from now on, or
    /// an object, whose context the engine uses too.
    fn client_saved(&mut self, response: &[u8]) {
        let context = response.get(Header::SIZE..).unwrap_or_default();
        let without_sessions = !self.job.has_sessions;
        let saved = self.job.needs.first().map(|need| need.entity);
        match saved {
            Some(Entity::Session(handle)) => {
                self.sessions.saved(handle, context);
                if let Some(session) = self.sessions.get_mut(handle) {
                    session.residence = Residence::Saved;
                    session.given.clear();
                    session.given.extend_from_slice(context);
                }
            }
            Some(Entity::Object(id)) if without_sessions => {
                if let Some(object) = self.objects.get_mut(id) {
                    object.context.clear();
                    object.context.extend_from_slice(context);
                    object.changes |= saved_context::is_sequence(context);
                }
            }
            Some(Entity::Foreign(handle)) if super::saved_context::is_session(context) => {
                self.forget_foreign(handle);
            }
            _ => {}
        }
    }

    /// Removes the objects of hierarchies that were cleared or disabled. A context
    /// names its hierarchy; for objects without a context, the engine asks the TPM.
    fn end_hierarchies(&mut self, hierarchies: &[u32]) {
        let mut unknown = false;
        let ids: Vec<_> = self.objects.ids().collect();
        for id in ids {
            match self.objects.get(id).and_then(Object::hierarchy) {
                Some(hierarchy) if hierarchies.contains(&hierarchy) => self.end_if_gone(id),
                Some(_) => {}
                None => unknown = true,
            }
        }
        if unknown || self.objects.loaded().len() + self.strays.len() > 0 {
            self.check_objects();
        }
    }

    /// Removes an object of a hierarchy that is gone. If it is loaded, the TPM's
    /// list decides.
    fn end_if_gone(&mut self, id: usize) {
        let Some(object) = self.objects.get_mut(id) else {
            return;
        };
        match object.real() {
            Some(_) => object.context.clear(),
            None => self.lose(id),
        }
    }

    fn show_properties(&mut self, response: &mut [u8]) {
        let without_sessions = !self.job.has_sessions;
        let answered = Header::parse(response).is_some_and(|header| header.tag == tag::NO_SESSIONS);
        if without_sessions && answered {
            capability::rewrite_properties(response, |property, value| {
                self.property_view(property, value)
            });
        }
    }
}
