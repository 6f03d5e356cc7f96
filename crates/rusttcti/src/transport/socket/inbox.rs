// SPDX-License-Identifier: BSD-2-Clause
//! A response that arrives in parts.

#![forbid(unsafe_code)]

use super::{Fault, Stream};
use crate::sys::deadline::Deadline;
use crate::{Error, ErrorKind, Result};

/// What has come of a response. A read that ran out of time leaves it here, and
/// the next one goes on.
#[derive(Debug, Default)]
pub(in crate::transport) struct Inbox {
    bytes: Vec<u8>,
    filled: usize,
}

impl Inbox {
    /// Forgets what has come.
    pub(in crate::transport) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Reads until a whole frame is there, and returns it. `length` tells from
    /// the bytes so far how long it is: `None` for not yet known. A frame has
    /// `capacity` bytes at most.
    ///
    /// # Errors
    /// [`ErrorKind::TryAgain`] at the deadline; [`ErrorKind::MalformedResponse`] where
    /// more comes than the frame; what `length` fails with; [`ErrorKind::NoConnection`]
    /// if the peer `who` has closed the connection.
    pub(in crate::transport) fn receive(
        &mut self,
        who: &dyn std::fmt::Display,
        stream: &Stream,
        capacity: usize,
        deadline: Deadline,
        quick_ack: bool,
        length: impl Fn(&[u8]) -> Result<Option<usize>>,
    ) -> Result<&[u8]> {
        if self.bytes.len() < capacity {
            self.bytes.resize(capacity, 0);
        }
        loop {
            let length = length(&self.bytes[..self.filled])?;
            match length {
                Some(length) if self.filled == length => return Ok(&self.bytes[..length]),
                Some(length) if self.filled > length => {
                    return Err(Error::new(
                        ErrorKind::MalformedResponse,
                        format!(
                            "{who} sent {} bytes more than its response has",
                            self.filled - length
                        ),
                    ));
                }
                _ => {}
            }
            if quick_ack {
                stream.acknowledge_at_once();
            }
            match stream.recv(&mut self.bytes[self.filled..capacity], deadline) {
                Ok(0) => return Err(self.cut_off(who, length)),
                Ok(count) => self.filled += count,
                Err(Fault::TimedOut) => return Err(ErrorKind::TryAgain.into()),
                Err(fault) => {
                    return Err(fault.error(format!("cannot read the response of {who}")));
                }
            }
        }
    }

    fn cut_off(&self, who: &dyn std::fmt::Display, length: Option<usize>) -> Error {
        let text = match (self.filled, length) {
            (0, _) => format!("{who} closed the connection without a response"),
            (filled, Some(length)) => {
                format!("{who} closed the connection after {filled} of {length} bytes")
            }
            (filled, None) => {
                format!("{who} closed the connection after {filled} bytes of a response")
            }
        };
        Error::new(ErrorKind::NoConnection, text)
    }
}
