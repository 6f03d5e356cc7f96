// SPDX-License-Identifier: BSD-2-Clause
//! The engine. It takes a client's command, and returns this command and its own
//! commands to be sent; it takes and returns responses likewise. It does no I/O.
//!
//! It has one job at a time, from [`Engine::begin`] to [`Step::Done`]. In between, the
//! caller sends what [`Engine::next`] returns and gives the engine the TPM's answers.
//! `next` decides by the tables alone, so a job goes on wherever a failure left the
//! tables.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::command::{Command, Makes};
pub(super) use super::job::{Entity, Job, Need, Phase, Position, Purpose, Renewal};
use super::objects::Objects;
use super::own_commands::OwnCommand;
use super::sessions::{Residence, Sessions};
use super::spaces::Space;
use crate::wire::{Header, ResponseCode, tag};

/// The options of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    /// Whether other programs use the TPM: nothing stays loaded between commands.
    pub(crate) share: bool,
    /// Whether the kernel's resource manager is below: it has room for three
    /// objects and three sessions, and must not be asked for more.
    pub(crate) kernel: bool,
    /// Whether each object is saved when it is made, for forked children.
    pub(crate) fork: bool,
}

/// The caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send [`Engine::outgoing`]: a command of the engine's own.
    Own,
    /// Send [`Engine::outgoing`]: the client's command.
    Client,
    /// Wait so long, and call [`Engine::next`] again.
    Wait(Duration),
    /// The job is done: [`Engine::response`] is the client's.
    Done,
}

/// The result of one part of a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Go {
    Step(Step),
    /// The tables changed: decide again.
    Again,
}

/// The TPM's room for objects, or for sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// How many are known to fit.
    pub(super) known: usize,
    /// Whether the TPM refused one more.
    pub(super) is_all: bool,
    /// How often room was made since then.
    pub(super) made: u32,
}

impl Room {
    const KERNEL: Self = Self {
        known: 3,
        is_all: true,
        made: 0,
    };
    const LEAST: Self = Self {
        known: 3,
        is_all: false,
        made: 0,
    };
}

/// A resource manager without I/O, for any number of clients of one TPM.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) mode: Mode,
    pub(super) objects: Objects,
    pub(super) sessions: Sessions,
    pub(super) spaces: Vec<Option<Space>>,
    pub(super) room: Room,
    pub(super) session_room: Room,
    /// How far the counts of two saved sessions may be apart.
    pub(super) gap: u64,
    /// Whether the sizes of the TPM were learnt.
    pub(super) learnt: bool,
    /// How often the TPM was reset, as far as is known.
    pub(super) resets: Option<u32>,
    /// Whether something may have vanished: lists are asked for first.
    pub(super) suspect: bool,
    /// Whether a response was lost that may have had a handle in it.
    pub(super) orphans: bool,
    /// The TPM's handles of things that the engine loaded and no client has any
    /// more.
    pub(super) strays: Vec<u32>,
    /// Whether the warning that leftovers fill the TPM was logged.
    pub(super) warned_of_leftovers: bool,
    pub(super) search: super::search::Search,
    pub(super) clock: u64,
    pub(super) job: Job,
    /// The bytes to send.
    pub(super) out: Vec<u8>,
    /// Spreads the pauses of several processes.
    pub(super) random: u64,
}

/// How long the engine waits for room. The fuzzer waits less, to make more tries.
pub(super) const PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 5 } else { 5000 });
/// The CONTEXT_GAP_MAX of a TPM that does not report it.
const GAP: u64 = 0xffff;

impl Engine {
    /// Makes an engine that knows nothing of its TPM yet. `seed` should differ
    /// between processes.
    pub(crate) fn new(mode: Mode, seed: u64) -> Self {
        let room = if mode.kernel {
            Room::KERNEL
        } else {
            Room::LEAST
        };
        Self {
            mode,
            objects: Objects::default(),
            sessions: Sessions::default(),
            spaces: Vec::new(),
            room,
            session_room: room,
            gap: GAP,
            learnt: false,
            resets: None,
            suspect: false,
            orphans: false,
            strays: Vec::new(),
            warned_of_leftovers: false,
            search: Default::default(),
            clock: 0,
            job: Job::idle(),
            out: Vec::new(),
            random: seed | 1,
        }
    }

    /// Adds a client, whose first job is [`begin_open`](Self::begin_open).
    pub(crate) fn add_client(&mut self) -> usize {
        let free = self.spaces.iter().position(Option::is_none);
        let space = free.unwrap_or(self.spaces.len());
        if free.is_none() {
            self.spaces.push(None);
        }
        self.spaces[space] = Some(Space::default());
        space
    }

    /// Removes a client with all that it has, even if some of that is still loaded.
    pub(crate) fn remove_client(&mut self, space: usize) {
        let of_it = |engine: &Self, id| engine.objects.get(id).is_some_and(|o| o.space == space);
        let ids: Vec<_> = self.objects.ids().filter(|id| of_it(self, *id)).collect();
        for id in ids {
            self.objects.remove(id);
        }
        self.sessions.retain(|session| session.space != space);
        if let Some(place) = self.spaces.get_mut(space) {
            *place = None;
        }
    }

    /// Changes whether other programs use the TPM.
    pub(crate) fn set_share(&mut self, share: bool) {
        self.mode.share = share;
    }

    /// Sets whether each object is saved when it is made.
    pub(crate) fn set_fork(&mut self, fork: bool) {
        self.mode.fork = fork;
    }

    /// Begins the job of opening a client.
    pub(crate) fn begin_open(&mut self, space: usize, flush: bool) {
        self.start(space, Purpose::Open { flush });
    }

    /// Begins the job of closing a client.
    pub(crate) fn begin_close(&mut self, space: usize) {
        self.start(space, Purpose::Close);
    }

    /// Begins to make a handle sticky, or normal again.
    pub(crate) fn begin_sticky(&mut self, space: usize, handle: u32, sticky: bool) {
        self.start(space, Purpose::Sticky { handle, sticky });
    }

    /// Begins the job of a client's command, which has a whole header.
    pub(crate) fn begin(&mut self, space: usize, command: &[u8]) {
        self.start(space, Purpose::Command);
        self.job.command.extend_from_slice(command);
        self.read_command();
    }

    fn start(&mut self, space: usize, purpose: Purpose) {
        self.clock += 1;
        self.job.reset(space, purpose);
        self.search.stop();
        self.job.renew_before = self.sessions.newest + 1;
    }

    /// Returns the bytes to send.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.out
    }

    /// Returns the client's response, once the job is done.
    pub(crate) fn response(&self) -> &[u8] {
        &self.job.response
    }

    /// Ends the job, whose response was taken.
    pub(crate) fn finish(&mut self) {
        self.job.phase = Phase::Idle;
    }

    /// Returns whether other programs use the TPM.
    pub(crate) fn shares(&self) -> bool {
        self.mode.share
    }

    /// Returns the TPM's handles of all that the engine has loaded.
    pub(crate) fn held(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let objects = self.objects.loaded().iter();
        let objects = objects.filter_map(|id| self.objects.get(*id)?.real());
        let loaded = |session: &&super::sessions::Session| {
            session.residence == Residence::Loaded && !session.sticky
        };
        objects.chain(
            self.sessions
                .iter()
                .filter(loaded)
                .map(|session| session.handle),
        )
    }

    /// Returns the sessions that the engine has saved.
    pub(crate) fn saved(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let evicted = |session: &&super::sessions::Session| {
            session.residence == Residence::Evicted && !session.sticky
        };
        let sessions = self.sessions.iter().filter(evicted);
        sessions.map(|session| session.handle)
    }

    /// Returns how often the TPM was reset; 0 if that is not known.
    pub(crate) fn resets(&self) -> u32 {
        self.resets.unwrap_or(0)
    }

    /// Returns whether the command to send next may load something.
    pub(crate) fn is_loading(&self) -> bool {
        match (self.job.phase, self.job.own) {
            (Phase::Sent, _) => self.job.makes != Makes::Nothing,
            (Phase::Idle, _) => false,
            (_, own) => matches!(
                own,
                Some(OwnCommand::LoadObject(_) | OwnCommand::LoadSession(_))
            ),
        }
    }

    /// Returns the handles that were loaded before, by programs without this layer.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let spaces = self.spaces.iter().flatten();
        spaces.flat_map(|space| space.foreign.iter().copied())
    }

    /// Returns whether the client's command was executed. A later failure does not
    /// lose its response.
    pub(crate) fn has_response(&self) -> bool {
        self.job.phase == Phase::After
    }

    /// Answers the client with a code and nothing more.
    pub(super) fn answer(&mut self, code: ResponseCode) {
        let header = Header {
            tag: tag::NO_SESSIONS,
            size: Header::SIZE as u32,
            code: code.0,
        };
        self.job.response.clear();
        self.job.response.extend_from_slice(&header.to_bytes());
        self.job.phase = Phase::After;
    }

    /// Answers the client that its command was cancelled, before it was sent.
    pub(crate) fn answer_cancelled(&mut self) {
        self.answer(ResponseCode::CANCELED);
    }

    /// Takes the response to the client's command, of `length` bytes, and rewrites
    /// it for the client. Returns its length if that ends the job; otherwise the
    /// engine keeps it.
    pub(crate) fn client_answered(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let Some(response) = buffer.get_mut(..length) else {
            self.failed();
            return None;
        };
        self.job.phase = Phase::After;
        if !self.take_client_response(response) {
            return None;
        }
        self.job.needs.clear();
        if self.is_done() {
            return Some(length);
        }
        self.job.response.clear();
        self.job.response.extend_from_slice(response);
        None
    }

    /// Notes that what was sent, or its response, was lost on the way.
    pub(crate) fn failed(&mut self) {
        self.suspect = true;
        self.orphans = true;
        self.job.own = None;
        self.job.renewal = None;
        if self.job.phase == Phase::After {
            // The client has its answer. The next job does the rest.
            self.job.budget = 0;
        }
        if self.mode.share {
            self.distrust_loaded();
        }
    }

    /// Returns the next step.
    pub(crate) fn next(&mut self) -> Step {
        if let Some(pause) = self.job.pause.take() {
            return Step::Wait(pause);
        }
        loop {
            let go = match self.job.phase {
                Phase::Before => self.before(),
                Phase::After => match self.after() {
                    Some(go) => go,
                    None => return Step::Done,
                },
                Phase::Idle | Phase::Sent => return Step::Done,
            };
            if let Go::Step(step) = go {
                return step;
            }
        }
    }

    /// Returns whether nothing is left to be done after the client's command.
    fn is_done(&mut self) -> bool {
        self.job.pause.is_none() && self.after().is_none()
    }

    /// Sends a command of the engine's own.
    pub(super) fn send(&mut self, own: OwnCommand) -> Go {
        self.job.own = Some(own);
        self.job.budget = self.job.budget.saturating_sub(1);
        self.write_own(own);
        Go::Step(Step::Own)
    }

    /// Returns the client that the job is for.
    pub(super) fn space(&self) -> Option<&Space> {
        self.spaces.get(self.job.space)?.as_ref()
    }

    /// Returns the client's command.
    pub(super) fn command(&self) -> Option<Command<'_>> {
        Command::parse(&self.job.command)
    }
}
