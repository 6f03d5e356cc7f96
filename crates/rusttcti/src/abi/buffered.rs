// SPDX-License-Identifier: BSD-2-Clause
//! A bridge's transport with its buffers: the response that the caller has not fetched
//! yet is kept here. Each response of the transport is checked here, before C gets it.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::bridge::State;
use super::refusal::{bad_sequence, beyond, malformed};
use crate::sys::deadline::Deadline;
use crate::sys::fork::Generation;
use crate::sys::panic::caught;
use crate::wire::header::Header;
use crate::{Error, PollHandle, Result, Tcti};

/// A bridge's transport and its buffers. One call at a time has it.
pub(super) struct BufferedTransport {
    pub(super) transport: Option<Box<dyn Tcti>>,
    /// The receive buffer of `max_size` bytes, which the transport writes to.
    pub(super) response: Vec<u8>,
    /// The length of a response that is in the buffer and not yet with the caller.
    pub(super) kept: Option<usize>,
    /// The poll handles whose number the caller has asked for. The caller gets exactly
    /// these when it calls again with an array, even if the transport has more by then.
    pub(super) counted: Option<Vec<PollHandle>>,
    /// The reason why the transport cannot be used in a forked child, and that child's
    /// generation.
    pub(super) refusal: Option<(Generation, Error)>,
}

impl BufferedTransport {
    /// Returns the transport; fails once it was taken.
    pub(super) fn transport(&mut self) -> Result<&mut Box<dyn Tcti>> {
        match &mut self.transport {
            Some(transport) => Ok(transport),
            None => Err(bad_sequence(State::Final)),
        }
    }

    /// Returns the length of a well-formed response from the transport.
    pub(super) fn receive(&mut self, timeout: Option<Duration>) -> Result<usize> {
        let Self {
            transport: Some(transport),
            response,
            ..
        } = self
        else {
            return Err(bad_sequence(State::Final));
        };
        let deadline = Deadline::after(timeout);
        let mut left = timeout;
        let length = loop {
            let (mut length, mut failure) = (0, None);
            caught(|| match transport.receive(response, left) {
                Ok(received) => length = received,
                // This asks the error for its causes, which may run third-party code.
                Err(error) => failure = Some((error.is_interruption(), error)),
            })?;
            let Some((interrupted, error)) = failure else {
                break length;
            };
            // A signal must not end the wait before the time is up.
            if interrupted {
                left = deadline.remaining();
            }
            if !interrupted || left == Some(Duration::ZERO) {
                return Err(error);
            }
        };
        match response.get(..length) {
            Some(bytes) if Header::fits(bytes) => {
                crate::sys::log::trace_bytes!("receive", bytes);
                Ok(length)
            }
            Some(bytes) => Err(malformed(bytes)),
            None => Err(beyond(length, response.len())),
        }
    }
}
