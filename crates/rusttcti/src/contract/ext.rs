// SPDX-License-Identifier: BSD-2-Clause
//! What every `Tcti` can do, made of its methods.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result, Tcti};

/// The size of a response that nearly every TPM keeps to, in bytes, and the
/// largest that is asked for.
const SIZE: usize = 4096;
const LARGEST: usize = 1 << 16;

/// What every [`Tcti`] can do, made of its methods.
///
/// ```
/// use rusttcti::TctiExt;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// let mut tpm = rusttcti::open("libtpms")?;
/// let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
/// let response = tpm.execute(&get_random, None)?;
/// assert_eq!(response.len(), 28);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub trait TctiExt: Tcti {
    /// Sends a command, waits for its response, and returns it: as many bytes as
    /// the response has. `timeout` is as in [`receive`](Tcti::receive), and
    /// counts from the moment that the command was sent.
    ///
    /// # Errors
    /// What [`transmit`](Tcti::transmit) and [`receive`](Tcti::receive) fail
    /// with. After [`ErrorKind::TryAgain`], which says that the time ran out, the
    /// command is still under way: `receive` brings its response later, and no
    /// other command can be sent before.
    fn execute(&mut self, command: &[u8], timeout: Option<Duration>) -> Result<Vec<u8>> {
        self.transmit(command)?;
        let began = Instant::now();
        let mut response = vec![0; SIZE];
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
            match self.receive(&mut response, left) {
                Ok(length) if length <= response.len() => {
                    response.truncate(length);
                    return Ok(response);
                }
                Ok(length) => return Err(beyond(length, response.len())),
                Err(error) => match error.kind() {
                    // Nothing is lost: it is asked for again.
                    ErrorKind::InsufficientBuffer if response.len() < LARGEST => {
                        response.resize(2 * response.len(), 0);
                    }
                    _ if error.is_interruption() && left != Some(Duration::ZERO) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl<T: Tcti + ?Sized> TctiExt for T {}

#[cold]
fn beyond(length: usize, place: usize) -> Error {
    Error::new(
        ErrorKind::MalformedResponse,
        format!("the transport claims a response of {length} bytes in a buffer of {place}"),
    )
}
