// SPDX-License-Identifier: BSD-2-Clause
//! A pause in the middle of a command, for layers that make the caller wait: it
//! respects the caller's timeout, an event loop can poll it, and a cancel ends
//! it.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::sys::deadline::Deadline;
use crate::sys::locks::Mutex;
use crate::sys::poll;
use crate::sys::timer::Timer;
use crate::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its time is up.
    Over,
    /// The command was cancelled.
    Cancelled,
}

/// The pauses of one command after the other. As a [`Cancel`], it cancels the
/// command wherever it is: below, or in a pause.
#[derive(Default)]
pub(super) struct Pause {
    state: Mutex<State>,
    /// Made when it is first needed. It is readable when a pause is over.
    timer: OnceLock<Timer>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    phase: Phase,
}

/// How far the command is.
#[derive(Default)]
enum Phase {
    /// Below, with the handle that cancels it there, if there is one.
    #[default]
    Below,
    Cancellable(Arc<dyn Cancel>),
    /// In a pause of the layer's.
    Paused,
}

impl Pause {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Sends a new command, and forgets the one before.
    pub(super) fn send(&self, below: &mut dyn Tcti, command: &[u8]) -> Result<()> {
        self.start();
        self.send_again(below, command).map(drop)
    }

    /// Forgets the command before.
    pub(super) fn start(&self) {
        *self.state.lock() = State::default();
        self.stop();
    }

    /// Sends a command, unless it was cancelled; no cancel comes in between.
    pub(super) fn send_again(&self, below: &mut dyn Tcti, command: &[u8]) -> Result<End> {
        let mut state = self.state.lock();
        if state.cancelled {
            return Ok(End::Cancelled);
        }
        state.phase = Phase::Below;
        below.transmit(command)?;
        if let Some(canceller) = below.canceller() {
            state.phase = Phase::Cancellable(canceller);
        }
        Ok(End::Over)
    }

    /// Begins a pause; with `None`, only a cancel ends it. If the command was
    /// cancelled already, the pause is over at once.
    pub(super) fn begin(&self, time: Option<Duration>) -> Result<()> {
        let timer = self.timer()?;
        let mut state = self.state.lock();
        state.phase = Phase::Paused;
        match state.cancelled {
            true => timer.expire(),
            false => timer.set(time),
        }
        Ok(())
    }

    /// Waits until the pause is over.
    ///
    /// # Errors
    /// [`ErrorKind::TryAgain`] at the deadline; the pause goes on.
    pub(super) fn wait(&self, deadline: Deadline) -> Result<End> {
        let timer = self.timer()?;
        let mut fds = [PollFd::from_borrowed_fd(timer.as_fd(), PollFlags::IN)];
        if !poll::any(&mut fds, deadline).map_err(io::Error::from)? {
            return Err(ErrorKind::TryAgain.into());
        }
        timer.set(None);
        match self.is_cancelled() {
            true => Ok(End::Cancelled),
            false => Ok(End::Over),
        }
    }

    /// Returns whether the command was cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state.lock().cancelled
    }

    /// Ends the pauses of the command: the poll handle is not readable any more.
    pub(super) fn stop(&self) {
        if let Some(timer) = self.timer.get() {
            timer.set(None);
        }
    }

    /// Returns the descriptor to poll beside those from below.
    pub(super) fn poll_handle(&self) -> Result<PollHandle> {
        self.timer().map(Timer::poll_handle)
    }

    fn timer(&self) -> Result<&Timer> {
        if let Some(timer) = self.timer.get() {
            return Ok(timer);
        }
        let timer = Timer::new()?;
        Ok(self.timer.get_or_init(|| timer))
    }
}

impl Cancel for Pause {
    fn cancel(&self) -> Result<()> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Paused => {
                if let Some(timer) = self.timer.get() {
                    timer.expire();
                }
            }
            Phase::Cancellable(below) => below.cancel()?,
            Phase::Below => {
                // The next pause is over at once.
                state.cancelled = true;
                return Err(Error::new(
                    ErrorKind::NotImplemented,
                    "this transport cannot cancel a command",
                ));
            }
        }
        state.cancelled = true;
        Ok(())
    }
}

impl std::fmt::Debug for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}
