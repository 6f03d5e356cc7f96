// SPDX-License-Identifier: BSD-2-Clause
//! The opening and closing of a client, and the handles that it makes sticky.

#![forbid(unsafe_code)]

use super::command::Makes;
use super::engine::{Engine, Go, Phase, Step};
use super::objects::Object;
use super::own_commands::{LOADED_SESSIONS, OwnCommand, TRANSIENT};
use super::sessions::{Residence, Session};

impl Engine {
    /// Does one step of opening a client: learns the TPM's sizes and what is
    /// loaded.
    pub(super) fn open(&mut self) -> Go {
        if !self.learnt {
            return self.send(OwnCommand::Properties);
        }
        let asks = self.resets.is_none() || self.asks_for_resets();
        if asks && !std::mem::replace(&mut self.job.asked_clock, true) {
            return self.send(OwnCommand::Clock);
        }
        if let Some(list) = self.job.lists.last() {
            return self.send(OwnCommand::List(*list));
        }
        if let Some(stray) = self.strays.last() {
            return self.send(OwnCommand::FlushStray(*stray));
        }
        if let Some(pause) = self.search.pause() {
            return Go::Step(Step::Wait(pause));
        }
        if std::mem::replace(&mut self.job.has_listed, true) {
            return self.done();
        }
        self.job.lists.extend([TRANSIENT, LOADED_SESSIONS]);
        Go::Again
    }

    /// Does one step of closing a client: flushes what it loaded, and neither saved
    /// nor made sticky.
    pub(super) fn close(&mut self) -> Go {
        if let Some(go) = self.settle_close() {
            return go;
        }
        let space = self.job.space;
        let of_client = |session: &&Session| session.space == space;
        let left = self
            .sessions
            .iter()
            .filter(of_client)
            .find(|session| match session.sticky {
                true => session.residence == Residence::Evicted,
                false => session.residence != Residence::Saved,
            });
        let left = left.map(|session| (session.handle, session.sticky, session.residence));
        if let Some((handle, sticky, residence)) = left {
            // If others use the TPM, the session is loaded first: only that shows that
            // it is still this client's.
            return match sticky || (self.mode.share && residence != Residence::Loaded) {
                true => self.load_session(handle),
                false => self.send(OwnCommand::FlushSession(handle)),
            };
        }
        let is_own = |id: &usize| {
            self.objects
                .get(*id)
                .is_some_and(|object| object.space == space && !object.stays)
        };
        let own = self.objects.loaded().iter().copied().find(is_own);
        match own {
            Some(id) => self.send(OwnCommand::FlushObject(id)),
            None => self.done(),
        }
    }

    /// Does one step of making a handle sticky, or normal again. The answer is its
    /// new handle, or empty for a handle that means nothing.
    pub(super) fn make_sticky(&mut self, handle: u32, sticky: bool) -> Go {
        let Some(space) = self.space() else {
            return self.done();
        };
        let (object, is_foreign) = (space.object(handle), space.foreign.contains(&handle));
        match handle >> 24 {
            2 | 3 => self.stick_session(handle, sticky, is_foreign),
            _ => match (object, sticky) {
                (Some(id), true) => self.stick_object(id),
                (Some(_), false) => self.done_with(handle),
                (None, true) if is_foreign => self.done_with(handle),
                (None, false) if is_foreign => self.adopt_object(handle),
                (None, _) => self.done(),
            },
        }
    }

    fn stick_object(&mut self, id: usize) -> Go {
        if let Some(go) = self.settle_close() {
            return go;
        }
        let Some(real) = self.objects.get(id).and_then(Object::real) else {
            return self.load_object(id);
        };
        self.lose(id);
        if let Some(Some(space)) = self.spaces.get_mut(self.job.space) {
            space.foreign.push(real);
        }
        self.done_with(real)
    }

    fn adopt_object(&mut self, real: u32) -> Go {
        self.forget_foreign(real);
        let object = Object::new(self.job.space, 0, false, self.clock);
        let id = self.objects.insert(object);
        let handle = self
            .spaces
            .get_mut(self.job.space)
            .and_then(|space| space.as_mut()?.give(id));
        let Some(handle) = handle else {
            self.objects.remove(id);
            return self.done();
        };
        if let Some(object) = self.objects.get_mut(id) {
            object.handle = handle;
        }
        self.objects.set_real(id, Some(real));
        self.done_with(handle)
    }

    fn stick_session(&mut self, handle: u32, sticky: bool, is_foreign: bool) -> Go {
        if let Some(go) = self.settle_close() {
            return go;
        }
        let (space, now) = (self.job.space, self.clock);
        if is_foreign && !sticky {
            self.forget_foreign(handle);
            self.sessions.insert(Session::new(space, handle, now));
        }
        let own = self.sessions.get_mut(handle);
        let own = own.filter(|session| session.space == space && session.handle == handle);
        match own {
            Some(session) if session.residence == Residence::Saved => self.done(),
            Some(session) if sticky && session.residence == Residence::Evicted => {
                self.load_session(handle)
            }
            Some(session) => {
                session.sticky = sticky;
                self.done_with(handle)
            }
            None if is_foreign => self.done_with(handle),
            None => self.done(),
        }
    }

    /// Makes room, or renews a session, if a load needs it.
    fn settle_close(&mut self) -> Option<Go> {
        if let Some(go) = self.renew() {
            return Some(go);
        }
        let kind = self.job.lacks_room_for?;
        Some(self.relieve_or_end(kind))
    }

    fn relieve_or_end(&mut self, kind: Makes) -> Go {
        match self.evict(kind) {
            Some(go) => go,
            None => {
                self.job.lacks_room_for = None;
                self.done()
            }
        }
    }

    fn done(&mut self) -> Go {
        self.job.phase = Phase::After;
        Go::Again
    }

    fn done_with(&mut self, handle: u32) -> Go {
        self.job.response.clear();
        self.job.response.extend_from_slice(&handle.to_be_bytes());
        self.done()
    }
}
