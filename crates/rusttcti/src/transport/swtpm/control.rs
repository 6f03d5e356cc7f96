// SPDX-License-Identifier: BSD-2-Clause
//! swtpm's control channel: a big-endian u32 code and its payload, answered by
//! a big-endian u32 result.

#![forbid(unsafe_code)]

use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::long_wait::LongWait;
use crate::transport::socket::{Endpoint, Fault};
use crate::wire::frame::swtpm::{self, Control as Request};
use crate::{Error, ErrorKind, Result};

/// The control channel. Each exchange has a connection of its own, because
/// swtpm serves one at a time.
#[derive(Debug)]
pub(super) struct Control(Endpoint);

impl Control {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self(endpoint)
    }

    /// The way to it.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.0
    }

    /// Sets the locality of all commands that swtpm is sent from now on.
    pub(super) fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.exchange(Request::SetLocality(locality))
    }

    /// Power-cycles the TPM. It then needs TPM2_Startup.
    pub(super) fn reset(&mut self) -> Result<()> {
        self.exchange(Request::Init {
            delete_volatile: true,
        })
    }

    /// # Errors
    /// [`ErrorKind::NoConnection`] if there is no control channel,
    /// [`ErrorKind::TryAgain`] if swtpm is busy, [`ErrorKind::IoError`] if it refuses
    /// the request.
    fn exchange(&mut self, request: Request) -> Result<()> {
        let name = request.name();
        let deadline = Deadline::after(Some(PATIENCE));
        let stream = self.0.dial_surely(&[], &request.encode())?;
        let mut answer = [0; swtpm::ANSWER];
        let who = &self.0;
        let mut waiting = LongWait::begin();
        if stream.readable(waiting.next(deadline)) == Err(Fault::TimedOut) {
            waiting.log_if_long(|| {
                let most = PATIENCE.as_secs();
                format!("up to {most} s for {who}, which is busy, to answer {name}")
            });
        }
        match stream.recv_whole(&mut answer, deadline) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::new(
                    ErrorKind::IoError,
                    format!("{who} closed its control channel without an answer to {name}"),
                ));
            }
            Err(Fault::TimedOut) => {
                return Err(Error::new(
                    ErrorKind::TryAgain,
                    format!(
                        "{who} did not answer {name} on its control channel within {} s \
                         (is it stopped, or busy with a long command?)",
                        PATIENCE.as_secs()
                    ),
                ));
            }
            Err(fault) => return Err(fault.error(format!("cannot ask {who} for {name}"))),
        }
        swtpm::decode_result(answer).map_err(|result| {
            Error::new(
                ErrorKind::IoError,
                format!("{} refused {name} with result 0x{result:x}", self.0),
            )
        })
    }
}
