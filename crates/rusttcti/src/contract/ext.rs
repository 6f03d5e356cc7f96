// SPDX-License-Identifier: BSD-2-Clause
//! Extension methods of every `Tcti`.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::{Error, ErrorKind, Result, Tcti};

/// The size of the first buffer for a response, in bytes: enough for nearly every TPM.
const SIZE: usize = 4096;
/// The size of the largest buffer that `execute` asks with, in bytes.
const LARGEST: usize = 1 << 16;

/// Extension methods of every [`Tcti`].
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
    /// Sends a command, waits for its response, and returns it, as long as the response
    /// is. `timeout` is as in [`receive`](Tcti::receive), and counts from the moment
    /// that the command was sent.
    ///
    /// # Errors
    /// Those of [`transmit`](Tcti::transmit) and [`receive`](Tcti::receive). After
    /// [`ErrorKind::TryAgain`], which means that the time ran out, the command is still
    /// under way: `receive` returns its response later, and no other command can be
    /// sent before.
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
                    // No data is lost: the response is asked for again.
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
