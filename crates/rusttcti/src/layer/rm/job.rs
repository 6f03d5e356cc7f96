// SPDX-License-Identifier: BSD-2-Clause
//! The engine's current job: one client's command, or its opening or closing.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::command::Makes;
use super::objects::ObjectId;
use super::own_commands::OwnCommand;
use super::sessions::Residence;
use crate::wire::{CommandCode, ResponseCode};

/// The purpose of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's command.
    Command,
    /// The opening of a client; whether it flushes what it finds loaded.
    Open { flush: bool },
    /// The closing of a client.
    Close,
    /// A client's handle is made sticky, or normal again.
    Sticky { handle: u32, sticky: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// The client's command is not sent yet, or to be sent again.
    Before,
    /// The client's command is with the TPM.
    Sent,
    /// The client's response is there; only commands of the engine's own are left.
    After,
}

/// A handle or a session of the client's command that the engine manages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) entity: Entity,
    pub(super) position: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    Object(ObjectId),
    Session(u32),
    /// A handle of the TPM's that no client made.
    Foreign(u32),
}

/// TPM_RC_HANDLE for the first parameter.
pub(super) const HANDLE_PARAMETER_1: ResponseCode = ResponseCode(0x1cb);

/// The position of a handle in a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// In the handle area.
    Handle(usize),
    /// In the authorization area; whether the session goes on after a success.
    Authorization(usize, bool),
    /// The parameter of FlushContext.
    Flushed,
}

impl Position {
    /// Returns the TPM's code for a handle that is not loaded.
    pub(super) fn refusal(self) -> ResponseCode {
        match self {
            Self::Handle(n) => ResponseCode(ResponseCode::REFERENCE_H0.0 + n as u32),
            Self::Authorization(n, _) => ResponseCode(ResponseCode::REFERENCE_S0.0 + n as u32),
            Self::Flushed => HANDLE_PARAMETER_1,
        }
    }
}

/// The saved session that is being loaded and saved again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    pub(super) handle: u32,
    pub(super) residence: Residence,
}

/// The engine's current job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) space: usize,
    pub(super) purpose: Purpose,
    pub(super) phase: Phase,
    /// The client's command as it came.
    pub(super) command: Vec<u8>,
    pub(super) code: CommandCode,
    pub(super) makes: Makes,
    /// Whether it has an authorization area.
    pub(super) has_sessions: bool,
    /// The number of the handle that a success flushes.
    pub(super) flushes: Option<usize>,
    /// The first handle that it asks for, and how many, if it lists handles.
    pub(super) asks: Option<(u32, u32)>,
    pub(super) needs: Vec<Need>,
    /// The command that the engine sent last, and waits for.
    pub(super) own: Option<OwnCommand>,
    /// The client's response, unless it is in the caller's buffer.
    pub(super) response: Vec<u8>,
    /// Whether the TPM was asked how often it was reset.
    pub(super) asked_clock: bool,
    /// Whether the lists of an opening client were requested.
    pub(super) has_listed: bool,
    /// The first handles of the lists that are still to be requested.
    pub(super) lists: Vec<u32>,
    /// The kind of thing to evict before the client's command is sent again.
    pub(super) lacks_room_for: Option<Makes>,
    /// Whether everything is to be unloaded, so that other programs get room.
    pub(super) yields: bool,
    pub(super) pause: Option<Duration>,
    /// How long the job has waited for room.
    pub(super) waited: Duration,
    pub(super) renewal: Option<Renewal>,
    /// The count from which on this job renews no saved sessions.
    pub(super) renew_before: u64,
    /// How many commands of its own the job may still send.
    pub(super) budget: u32,
    /// How often the TPM asked for one of the engine's commands again.
    pub(super) retries: u32,
    /// The object that the client's command made.
    pub(super) made: Option<ObjectId>,
    /// The code that the client's command failed with, while it is tried again.
    pub(super) refused: ResponseCode,
    /// How often a handle was found not to be loaded.
    pub(super) reloads: u32,
}

/// The most commands of its own that the engine runs for one of a client's.
const BUDGET: u32 = 1000;

impl Job {
    pub(super) fn idle() -> Self {
        Self {
            space: 0,
            purpose: Purpose::Command,
            phase: Phase::Idle,
            command: Vec::new(),
            code: CommandCode(0),
            makes: Makes::Nothing,
            has_sessions: false,
            flushes: None,
            asks: None,
            needs: Vec::new(),
            own: None,
            response: Vec::new(),
            asked_clock: false,
            has_listed: false,
            lists: Vec::new(),
            lacks_room_for: None,
            yields: false,
            pause: None,
            waited: Duration::ZERO,
            renewal: None,
            renew_before: 0,
            budget: BUDGET,
            retries: 0,
            made: None,
            refused: ResponseCode::SUCCESS,
            reloads: 0,
        }
    }

    /// Begins another job, in the same memory.
    pub(super) fn reset(&mut self, space: usize, purpose: Purpose) {
        self.space = space;
        self.purpose = purpose;
        self.phase = Phase::Before;
        self.command.clear();
        self.code = CommandCode(0);
        self.makes = Makes::Nothing;
        self.has_sessions = false;
        self.flushes = None;
        self.asks = None;
        self.needs.clear();
        self.own = None;
        self.response.clear();
        self.asked_clock = false;
        self.has_listed = false;
        self.lists.clear();
        self.lacks_room_for = None;
        self.yields = false;
        self.pause = None;
        self.waited = Duration::ZERO;
        self.renewal = None;
        self.renew_before = 0;
        self.budget = BUDGET;
        self.retries = 0;
        self.made = None;
        self.refused = ResponseCode::SUCCESS;
        self.reloads = 0;
    }
}
