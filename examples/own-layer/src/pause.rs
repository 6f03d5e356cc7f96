// SPDX-License-Identifier: BSD-2-Clause
//! The pause before a command is sent again. It ends by its timer, which an event loop
//! can poll, or because the command is cancelled.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use rusttcti::{Cancel, Error, ErrorKind, PollHandle, Result};

/// A pause, and the canceller that may end it.
pub struct Pause {
    /// Readable once the pause is over. Outside of one it is never readable.
    timer: OwnedFd,
    /// Whether what is below can cancel commands.
    cancels: bool,
    state: Mutex<State>,
}

/// Held while a command is sent anew, so that no cancel comes in between.
struct State {
    /// Whether the command waits here and is not with the TPM.
    is_on: bool,
    /// Whether the command under way was cancelled.
    cancelled: bool,
    /// What cancels the command while the TPM has it.
    below: Option<Arc<dyn Cancel>>,
}

impl Pause {
    /// Makes one over something whose canceller is this before the first command.
    pub fn new(below: Option<Arc<dyn Cancel>>) -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed)?;
        Ok(Self {
            timer,
            cancels: below.is_some(),
            state: Mutex::new(State {
                is_on: false,
                cancelled: false,
                below,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the canceller of a command that was just sent.
    pub fn command_was_sent(&self, below: Option<Arc<dyn Cancel>>) {
        // A pause of a command whose response was never asked for is over.
        let _ = self.set(Duration::ZERO);
        *self.state() = State {
            is_on: false,
            cancelled: false,
            below,
        };
    }

    /// Returns whether the command waits here.
    pub fn is_on(&self) -> bool {
        self.state().is_on
    }

    /// Begins a pause. Returns false, and begins none, where the command was
    /// cancelled.
    pub fn begin(&self, length: Duration) -> Result<bool> {
        let mut state = self.state();
        if state.cancelled {
            return Ok(false);
        }
        self.set(length)?;
        state.is_on = true;
        Ok(true)
    }

    /// Waits until the pause is over.
    ///
    /// # Errors
    /// [`ErrorKind::TryAgain`] when the time runs out before; also for a signal,
    /// after which the bridge calls with the time that is left.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&self.timer, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()).map_err(failed)? {
            0 => Err(ErrorKind::TryAgain.into()),
            _ => Ok(()),
        }
    }

    /// Ends the pause: `send` sends the command and returns its canceller. Returns
    /// false, and sends nothing, where the command was cancelled.
    pub fn end(&self, send: impl FnOnce() -> Result<Option<Arc<dyn Cancel>>>) -> Result<bool> {
        let mut state = self.state();
        state.is_on = false;
        self.set(Duration::ZERO)?;
        if state.cancelled {
            return Ok(false);
        }
        state.below = send()?;
        Ok(true)
    }

    /// Returns the timer, for an event loop.
    pub fn poll_handle(&self) -> PollHandle {
        PollHandle::readable(self.timer.as_fd().as_raw_fd())
    }

    /// Sets the timer; zero stops it, and makes it not readable.
    fn set(&self, time: Duration) -> Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).unwrap_or_default(),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).map_err(failed)?;
        Ok(())
    }
}

impl Cancel for Pause {
    fn cancel(&self) -> Result<()> {
        let mut state = self.state();
        if state.is_on {
            state.cancelled = true;
            // Wakes `wait`, and event loops.
            return self.set(Duration::from_nanos(1));
        }
        match &state.below {
            Some(below) => below.cancel()?,
            // It was done already when it was sent.
            None if self.cancels => {}
            None => return Err(ErrorKind::NotImplemented.into()),
        }
        state.cancelled = true;
        Ok(())
    }
}

fn failed(errno: Errno) -> Error {
    std::io::Error::from(errno).into()
}
