// SPDX-License-Identifier: BSD-2-Clause
//! A context's mailbox, into which the worker puts the responses to long commands.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Condvar, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::shared_tpm::SharedTpm;
use crate::sys::deadline::Deadline;
use crate::sys::eventfd::EventFd;
use crate::sys::locks::{Mutex, MutexGuard};
use crate::{Cancel, Error, ErrorKind, PollHandle, Result};

/// How often a cancel is repeated while the command goes on: libtpms loses a cancel
/// that comes while a command begins.
const CANCEL_AGAIN: Duration = Duration::from_millis(5);

/// The size of the largest response in bytes.
const LARGEST: usize = 4096;

/// Receives the response to a command that the worker runs. As a [`Cancel`] it
/// cancels that command.
pub(super) struct Mailbox {
    tpm: Weak<SharedTpm>,
    slot: Mutex<Slot>,
    arrived: Condvar,
    /// Made when a poll handle is first asked for. Changed under the slot's lock.
    event: OnceLock<EventFd>,
}

#[derive(Default)]
struct Slot {
    state: State,
    /// Reused by each command.
    response: Vec<u8>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// Sent to the worker, and perhaps cancelled.
    Pending {
        cancelled: bool,
    },
    Arrived,
    Failed(Error),
}

impl Mailbox {
    pub(super) fn new(tpm: &Arc<SharedTpm>) -> Arc<Self> {
        Arc::new(Self {
            tpm: Arc::downgrade(tpm),
            slot: Mutex::default(),
            arrived: Condvar::new(),
            event: OnceLock::new(),
        })
    }

    /// Reserves memory for a response, so that the worker needs none.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] if there is none.
    pub(super) fn make_room(&self) -> Result<()> {
        let mut slot = self.slot.lock();
        slot.response.clear();
        let reserved = slot.response.try_reserve(LARGEST);
        reserved.map_err(|_| ErrorKind::Memory.into())
    }

    /// Awaits a response from now on.
    pub(super) fn expect(&self) {
        self.slot.lock().state = State::Pending { cancelled: false };
    }

    /// Awaits no response any more.
    pub(super) fn forget(&self) {
        self.slot.lock().state = State::Idle;
    }

    /// Returns whether a response is awaited.
    fn is_pending(&self) -> bool {
        matches!(self.slot.lock().state, State::Pending { .. })
    }

    /// Puts a response into the mailbox.
    pub(super) fn deliver(&self, response: Result<&[u8]>) {
        let mut slot = self.slot.lock();
        slot.state = match response {
            Ok(response) => {
                slot.response.clear();
                slot.response.extend_from_slice(response);
                State::Arrived
            }
            Err(error) => State::Failed(error),
        };
        self.set_event();
        self.arrived.notify_all();
    }

    /// Waits for the response, and takes it.
    pub(super) fn take(&self, into: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let mut slot = self.wait(Deadline::after(timeout))?;
        self.clear_event();
        match std::mem::take(&mut slot.state) {
            State::Failed(error) => Err(error),
            _ => copy(&slot.response, into),
        }
    }

    /// Waits until no response is awaited any more.
    fn wait(&self, deadline: Deadline) -> Result<MutexGuard<'_, Slot>> {
        let mut slot = self.slot.lock();
        loop {
            let State::Pending { cancelled } = slot.state else {
                return Ok(slot);
            };
            let left = deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ErrorKind::TryAgain.into());
            }
            let longest = if cancelled {
                drop(slot);
                self.cancel_command();
                slot = self.slot.lock();
                if !matches!(slot.state, State::Pending { .. }) {
                    continue;
                }
                Some(left.map_or(CANCEL_AGAIN, |left| left.min(CANCEL_AGAIN)))
            } else {
                left
            };
            slot = match longest {
                None => self
                    .arrived
                    .wait(slot)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(longest) => {
                    let waited = self.arrived.wait_timeout(slot, longest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns a descriptor that is readable while the mailbox or, by
    /// `has_response`, the caller has a response.
    pub(super) fn poll_handle(&self, has_response: bool) -> Result<PollHandle> {
        let slot = self.slot.lock();
        if let Some(event) = self.event.get() {
            return Ok(handle(event));
        }
        let arrived = matches!(slot.state, State::Arrived | State::Failed(_));
        let event = EventFd::new(arrived || has_response)
            .map_err(|errno| Error::from(std::io::Error::from(errno)).context("eventfd"))?;
        Ok(handle(self.event.get_or_init(|| event)))
    }

    /// Makes the poll handle readable: a response is there.
    pub(super) fn set_event(&self) {
        if let Some(event) = self.event.get() {
            event.set();
        }
    }

    /// Makes the poll handle unreadable: the response was taken.
    pub(super) fn clear_event(&self) {
        if let Some(event) = self.event.get() {
            event.clear();
        }
    }

    /// Cancels the command, if there is one, and waits for its end.
    pub(super) fn abandon(&self) {
        if self.is_pending() && self.cancel().is_ok() {
            // Without a deadline there is no failure.
            drop(self.wait(Deadline::Never));
        }
        self.forget();
    }

    fn cancel_command(&self) {
        if let Some(tpm) = self.tpm.upgrade() {
            tpm.cancel(self);
        }
    }
}

impl Cancel for Mailbox {
    fn cancel(&self) -> Result<()> {
        match &mut self.slot.lock().state {
            State::Pending { cancelled } => *cancelled = true,
            // The cancel came too late.
            _ => return Ok(()),
        }
        self.cancel_command();
        // A thread that waits without a deadline must see the cancel.
        self.arrived.notify_all();
        Ok(())
    }
}

/// Copies a response to the caller's buffer.
#[inline]
pub(super) fn copy(response: &[u8], buffer: &mut [u8]) -> Result<usize> {
    let length = response.len();
    let given = buffer.len();
    match buffer.get_mut(..length) {
        Some(buffer) => crate::sys::copy::copy(response, buffer, |byte| byte),
        None => return Err(too_long(length, given)),
    }
    Ok(length)
}

#[cold]
fn too_long(length: usize, given: usize) -> Error {
    Error::new(
        ErrorKind::MalformedResponse,
        format!(
            "the response has {length} bytes, but the buffer has {given} (a TPM's response has \
             up to 4096)"
        ),
    )
}

fn handle(event: &EventFd) -> PollHandle {
    PollHandle::readable(event.as_fd().as_raw_fd())
}
