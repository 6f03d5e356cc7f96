// SPDX-License-Identifier: BSD-2-Clause
//! The TPM's responses to the engine's own commands, and the changes that they make in
//! the engine's tables.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::capability;
use super::command::Makes;
use super::engine::{Engine, PATIENCE, Phase, Purpose, Room};
use super::job::HANDLE_PARAMETER_1;
use super::own_commands::{self, LOADED_SESSIONS, OwnCommand, SAVED_SESSIONS, TRANSIENT};
use super::saved_context;
use super::sessions::{Residence, number};
use crate::wire::{Header, ResponseCode, property};

/// How often the engine makes room before it tries whether the TPM has more by now.
const TRY_AGAIN_AFTER: u32 = 256;

impl Engine {
    /// Takes the response to a command of the engine's own.
    pub(crate) fn own_answered(&mut self, response: &[u8]) {
        let Some(own) = self.job.own.take() else {
            return;
        };
        let Some(header) = Header::parse(response).filter(|_| Header::fits(response)) else {
            self.failed();
            return;
        };
        match ResponseCode(header.code) {
            ResponseCode::SUCCESS => self.own_succeeded(own, &response[Header::SIZE..], response),
            ResponseCode::RETRY | ResponseCode::YIELDED | ResponseCode::TESTING
                if self.may_repeat() => {}
            code => self.own_refused(own, code),
        }
    }

    /// Prepares to send a command again after a pause; false once that went on for
    /// long.
    fn may_repeat(&mut self) -> bool {
        self.job.retries += 1;
        let pause = Duration::from_millis(self.job.retries.min(50).into());
        self.job.waited += pause;
        self.job.pause = Some(pause);
        let may = self.job.waited < PATIENCE;
        if !may {
            self.job.pause = None;
        }
        may
    }

    fn own_succeeded(&mut self, own: OwnCommand, body: &[u8], response: &[u8]) {
        match own {
            OwnCommand::SaveObject(id) => {
                if let Some(object) = self.objects.get_mut(id) {
                    object.context.clear();
                    object.context.extend_from_slice(body);
                    object.changes |= saved_context::is_sequence(body);
                }
            }
            OwnCommand::LoadObject(id) => self.object_loaded(id, body),
            OwnCommand::FlushObject(id) => self.evicted(id),
            OwnCommand::SaveSession(handle) => self.session_saved(handle, body),
            OwnCommand::LoadSession(handle) => self.session_loaded(handle, body),
            OwnCommand::FlushSession(handle) => {
                self.sessions.remove(handle);
            }
            OwnCommand::FlushStray(handle) => self.strays.retain(|stray| *stray != handle),
            OwnCommand::List(first) => self.listed(first, response),
            OwnCommand::Properties => self.learn(response),
            OwnCommand::Clock => {
                let resets = own_commands::resets_of(body);
                // TPM2_Clear puts the count back to zero, which is no reset.
                if self.resets.is_some() && resets > self.resets {
                    // What was made since the reset is there.
                    self.restarted(own_commands::time_of(body));
                }
                self.resets = resets;
                self.flush_saved();
            }
        }
    }

    fn object_loaded(&mut self, id: usize, body: &[u8]) {
        let Some(handle) = body.first_chunk() else {
            self.failed();
            return;
        };
        let real = u32::from_be_bytes(*handle);
        self.claim(real);
        self.objects.set_real(id, Some(real));
        self.note_fit();
    }

    /// Notes an object that went out.
    fn evicted(&mut self, id: usize) {
        self.unloaded(id);
        self.job.lacks_room_for = None;
        self.room.made += 1;
        if self.room.made >= TRY_AGAIN_AFTER && !self.mode.kernel {
            self.room = Room {
                is_all: false,
                made: 0,
                ..self.room
            };
        }
    }

    fn session_saved(&mut self, handle: u32, context: &[u8]) {
        self.sessions.saved(handle, context);
        let renewal = self.job.renewal.filter(|renewal| renewal.handle == handle);
        if let (Some(renewal), Some(session)) = (renewal, self.sessions.get_mut(handle)) {
            session.residence = renewal.residence;
            self.job.renewal = None;
            return;
        }
        self.job.lacks_room_for = None;
        self.session_room.made += 1;
        if self.session_room.made >= TRY_AGAIN_AFTER && !self.mode.kernel {
            self.session_room = Room {
                is_all: false,
                made: 0,
                ..self.session_room
            };
        }
    }

    fn session_loaded(&mut self, handle: u32, body: &[u8]) {
        let is_it = body
            .first_chunk()
            .is_some_and(|got| u32::from_be_bytes(*got) == handle);
        match self.sessions.get_mut(handle) {
            Some(session) if is_it => session.residence = Residence::Loaded,
            _ => self.failed(),
        }
        self.note_fit();
    }

    /// Notes how much fits.
    pub(super) fn note_fit(&mut self) {
        self.room.known = self.room.known.max(self.objects_used());
        self.session_room.known = self.session_room.known.max(self.sessions_used());
    }

    /// Learns the sizes of the TPM.
    fn learn(&mut self, response: &[u8]) {
        self.learnt = true;
        for (property, value) in capability::properties(response) {
            match property {
                property::HR_TRANSIENT_MIN if !self.mode.kernel => {
                    self.room.known = self.room.known.min(value as usize).max(1);
                }
                property::HR_LOADED_MIN if !self.mode.kernel => {
                    self.session_room.known = self.session_room.known.min(value as usize).max(1);
                }
                property::CONTEXT_GAP_MAX if value > 0 => self.gap = value.into(),
                _ => {}
            }
        }
    }

    /// Removes what the TPM does not list any more.
    fn listed(&mut self, first: u32, response: &[u8]) {
        let handles = capability::handles(response);
        self.job.lists.retain(|list| *list != first);
        let is_listed = |handle: u32| handles.clone().any(|other| number(other) == number(handle));
        if first == TRANSIENT {
            for id in self.objects.loaded().to_vec() {
                let real = self.objects.get(id).and_then(|object| object.real());
                if real.is_some_and(|real| !is_listed(real)) {
                    self.unloaded(id);
                }
            }
        } else {
            self.find_sessions(first, is_listed);
            let saved = first == SAVED_SESSIONS;
            self.sessions.retain(|session| {
                (session.residence == Residence::Loaded) == saved || is_listed(session.handle)
            });
        }
        if first != SAVED_SESSIONS {
            for space in self.spaces.iter_mut().flatten() {
                space.foreign.retain(|handle| {
                    (handle >> 24 == TRANSIENT >> 24) != (first == TRANSIENT) || is_listed(*handle)
                });
            }
            let handles: Vec<_> = handles.collect();
            match self.search.is_on() {
                true => self.search_list(first, &handles),
                false => self.sort_out(first, handles),
            }
        }
    }

    /// Finds the sessions after a lost response: the command may have been
    /// executed.
    fn find_sessions(&mut self, first: u32, is_listed: impl Fn(u32) -> bool) {
        if !self.orphans || first == SAVED_SESSIONS {
            return;
        }
        for session in self.sessions.iter_mut() {
            match (session.residence, is_listed(session.handle)) {
                (Residence::Evicted, true) => session.residence = Residence::Loaded,
                // Saved, and its context is lost.
                (Residence::Loaded, false) => self.strays.push(session.handle),
                _ => {}
            }
        }
    }

    /// Sorts what is loaded and belongs to no client.
    fn sort_out(&mut self, first: u32, handles: Vec<u32>) {
        let flush = match self.job.purpose {
            Purpose::Open { flush } => flush,
            _ if !self.orphans || self.mode.share => return,
            _ => true,
        };
        for handle in handles {
            let is_ours = match first {
                LOADED_SESSIONS => self.sessions.get(handle).is_some(),
                _ => self.objects.at(handle).is_some(),
            };
            let is_known = self
                .spaces
                .iter()
                .flatten()
                .any(|space| space.foreign.contains(&handle));
            let opens = self.job.purpose != Purpose::Command;
            match flush {
                _ if is_ours || self.strays.contains(&handle) => {}
                false if self.search.is_another_s(handle) => {}
                true if opens || !is_known => self.strays.push(handle),
                true => {}
                false => {
                    if let Some(Some(space)) = self.spaces.get_mut(self.job.space) {
                        space.foreign.push(handle);
                    }
                }
            }
        }
        if first == LOADED_SESSIONS {
            self.orphans = false;
        }
    }

    fn own_refused(&mut self, own: OwnCommand, code: ResponseCode) {
        match (own, code) {
            (
                OwnCommand::SaveObject(id) | OwnCommand::FlushObject(id),
                ResponseCode::REFERENCE_H0 | HANDLE_PARAMETER_1,
            ) => {
                self.unloaded(id);
                self.job.lacks_room_for = None;
            }
            (OwnCommand::SaveObject(id) | OwnCommand::FlushObject(id), code)
                if code != ResponseCode::INITIALIZE =>
            {
                // It stays where it is. The next one may go.
                if let Some(object) = self.objects.get_mut(id) {
                    object.stays = true;
                }
            }
            (OwnCommand::SaveSession(handle), ResponseCode::REFERENCE_H0) => {
                self.sessions.remove(handle);
            }
            (
                OwnCommand::LoadObject(_),
                ResponseCode::OBJECT_MEMORY | ResponseCode::OBJECT_HANDLES | ResponseCode::MEMORY,
            ) => {
                self.needs_room(Makes::Object, code);
            }
            (OwnCommand::LoadSession(_), ResponseCode::SESSION_MEMORY | ResponseCode::MEMORY) => {
                self.needs_room(Makes::Session, code)
            }
            (
                OwnCommand::SaveSession(_) | OwnCommand::LoadSession(_),
                ResponseCode::CONTEXT_GAP,
            ) => {
                let fresh = self.job.renewal.is_none();
                if !fresh || !self.begin_renewal() {
                    self.job.renewal = None;
                    self.give_up(code);
                }
            }
            (OwnCommand::LoadObject(id), code) if code.is_format_one() => self.lose(id),
            (OwnCommand::LoadSession(handle), code)
                if code.is_format_one() || self.job.purpose == Purpose::Close =>
            {
                self.sessions.remove(handle);
            }
            (OwnCommand::FlushSession(handle), _) => {
                self.sessions.remove(handle);
            }
            (OwnCommand::FlushStray(handle), _) => self.strays.retain(|stray| *stray != handle),
            (OwnCommand::Properties, _) => self.learnt = true,
            // The engine does without. A TPM that is not started refuses the next
            // command too.
            (OwnCommand::Clock, _) => self.flush_saved(),
            (OwnCommand::List(_), code) => {
                self.job.lists.clear();
                self.search.stop();
                if self.job.asks.is_some() {
                    self.give_up(code);
                }
            }
            (_, code) => self.give_up(code),
        }
    }

    /// Asks for room after a command of the engine's own found none.
    fn needs_room(&mut self, kind: Makes, code: ResponseCode) {
        self.job.refused = code;
        self.is_full(kind);
        if self.job.phase == Phase::After {
            self.give_up(code);
        } else {
            self.job.lacks_room_for = Some(kind);
        }
    }

    /// Notes that the TPM has no more room.
    pub(super) fn is_full(&mut self, kind: Makes) {
        let (used, room) = match kind {
            Makes::Session => (self.sessions_used(), &mut self.session_room),
            _ => (self.objects_used(), &mut self.room),
        };
        if !self.mode.kernel && used > 0 {
            room.known = used.min(room.known);
            room.is_all = true;
        }
    }

    /// Ends the job with the TPM's code. Before the client's command, the code is
    /// the answer to it. After it, the next job does what is left.
    pub(super) fn give_up(&mut self, code: ResponseCode) {
        self.job.renewal = None;
        if self.job.phase == Phase::After {
            self.suspect = true;
            self.job.budget = 0;
        } else {
            self.answer(code);
        }
    }
}
