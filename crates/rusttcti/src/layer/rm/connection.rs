// SPDX-License-Identifier: BSD-2-Clause
//! A client's connection to the TPM, the progress of its task, and its canceller.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::wakeups::Wakeups;
use crate::sys::locks::Mutex;
use crate::{Cancel, Error, Result, Tcti};

/// The task of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Command,
    Open { flush: bool },
    Close,
    Sticky { handle: u32, sticky: bool },
    Reset,
}

/// The progress of a client's task.
#[derive(Debug)]
pub(super) enum Progress {
    /// There is no task.
    Idle,
    /// It waits for the tasks of other clients.
    Queued,
    /// It is the engine's job.
    Running,
    /// It is done. The response has so many bytes, in the connection's buffer.
    Answered(Result<usize>),
}

/// The response that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Nothing,
    /// The response to a command of the engine's own.
    Own,
    /// The response to the client's command.
    Client,
}

/// A client's connection to the TPM. One thread at a time takes it out of the slot
/// to wait for a response.
pub(super) struct Connection {
    pub(super) below: Box<dyn Tcti>,
    pub(super) buffer: Vec<u8>,
    pub(super) awaited: Awaited,
    /// When the engine goes on after a pause.
    pub(super) resume: Option<Instant>,
    pub(super) wakeups: Option<Wakeups>,
}

/// A client.
pub(super) struct Slot {
    /// `None` while a thread waits for a response on the connection.
    pub(super) connection: Option<Box<Connection>>,
    pub(super) task: Task,
    pub(super) progress: Progress,
    /// The client's command, until its job begins.
    pub(super) command: Vec<u8>,
    pub(super) cancel: Arc<Canceller>,
    /// Whether the command can be cancelled, where it is now.
    pub(super) is_cancellable: bool,
    /// Whether the client was closed: the thread that uses the connection ends it.
    pub(super) is_gone: bool,
}

/// The longest response that TPMs give.
const BUFFER: usize = 4096;

impl Slot {
    pub(super) fn new(below: Box<dyn Tcti>) -> Self {
        Self {
            connection: Some(Box::new(Connection {
                below,
                buffer: vec![0; BUFFER],
                awaited: Awaited::Nothing,
                resume: None,
                wakeups: None,
            })),
            task: Task::Command,
            progress: Progress::Idle,
            command: Vec::new(),
            cancel: Arc::default(),
            is_cancellable: false,
            is_gone: false,
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("task", &self.task)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// Cancels the client's command, whether it was sent or not, and never one of the
/// engine's.
#[derive(Default)]
pub(super) struct Canceller(Mutex<Stage>);

/// The progress of a command, as its canceller needs it.
#[derive(Default)]
enum Stage {
    /// There is no command, or it was answered.
    #[default]
    Over,
    /// It was not sent yet; whether it was cancelled.
    Ahead { cancelled: bool },
    /// The TPM has it.
    Sent(Option<Arc<dyn Cancel>>),
}

// No lock is taken if no caller holds the canceller, which is so for most commands.
impl Canceller {
    fn set(this: &mut Arc<Self>, stage: Stage) {
        match Arc::get_mut(this) {
            Some(own) => *own.0.get_mut() = stage,
            None => *this.0.lock() = stage,
        }
    }

    /// Notes that a command came.
    pub(super) fn begin(this: &mut Arc<Self>) {
        Self::set(this, Stage::Ahead { cancelled: false });
    }

    /// Notes that the command was answered or given up.
    pub(super) fn end(this: &mut Arc<Self>) {
        Self::set(this, Stage::Over);
    }

    /// Returns whether the command was cancelled before it was sent.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(&*self.0.lock(), Stage::Ahead { cancelled: true })
    }

    /// Sends the command, and lets no cancel come in between. Returns whether it can be
    /// cancelled from then on; `None` if it was cancelled before.
    pub(super) fn send(
        this: &mut Arc<Self>,
        send: impl FnOnce() -> (Result<()>, Option<Arc<dyn Cancel>>),
    ) -> Option<(Result<()>, bool)> {
        let put = |stage: &mut Stage| {
            if matches!(stage, Stage::Ahead { cancelled: true }) {
                return None;
            }
            let (sent, cancel) = send();
            let is_cancellable = cancel.is_some();
            *stage = Stage::Sent(cancel);
            Some((sent, is_cancellable))
        };
        match Arc::get_mut(this) {
            Some(own) => put(own.0.get_mut()),
            None => put(&mut this.0.lock()),
        }
    }

    /// Notes that the command is to be sent again.
    pub(super) fn again(&self) {
        let mut stage = self.0.lock();
        if matches!(&*stage, Stage::Sent(_)) {
            *stage = Stage::Ahead { cancelled: false };
        }
    }
}

impl Cancel for Canceller {
    fn cancel(&self) -> Result<()> {
        let mut stage = self.0.lock();
        match &mut *stage {
            Stage::Ahead { cancelled } => *cancelled = true,
            Stage::Sent(Some(cancel)) => return cancel.cancel(),
            Stage::Sent(None) | Stage::Over => {}
        }
        Ok(())
    }
}

/// Returns the error of a task that was given up because its client was closed.
#[cold]
pub(super) fn given_up() -> Error {
    Error::new(
        crate::ErrorKind::BadSequence,
        "the layer rm: no command was sent",
    )
}
