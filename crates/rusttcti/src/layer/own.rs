// SPDX-License-Identifier: BSD-2-Clause
//! Commands of a layer's own, and errors that end the program's command.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::wire::{Header, ResponseBuilder, ResponseCode};
use crate::{Error, ErrorKind, Result, Tcti};

/// The size of the largest response in bytes.
pub(super) const LARGEST: usize = 4096;

/// Returns the response that is a response code and nothing more.
pub(super) fn failure(code: ResponseCode) -> Vec<u8> {
    ResponseBuilder::new(code).build()
}

/// Runs a command of the layer `name`'s own, and returns a well-formed response.
pub(super) fn run(
    name: &str,
    below: &mut dyn Tcti,
    command: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>> {
    below.transmit(command)?;
    let mut response = vec![0; LARGEST];
    let length = below.receive(&mut response, Some(timeout))?;
    response.truncate(length);
    if !Header::fits(&response) {
        return Err(Error::new(
            ErrorKind::MalformedResponse,
            format!("{name}: the TPM's response is malformed"),
        ));
    }
    Ok(response)
}

/// Puts a response into the caller's buffer.
pub(super) fn put(name: &str, response: &[u8], buffer: &mut [u8]) -> Result<usize> {
    let (length, room) = (response.len(), buffer.len());
    let Some(to) = buffer.get_mut(..length) else {
        return Err(Error::new(
            ErrorKind::MalformedResponse,
            format!("{name}: a response of {length} bytes, in a buffer of {room}"),
        ));
    };
    to.copy_from_slice(response);
    Ok(length)
}

/// Returns an error of `receive` after which the command counts as failed: some
/// kinds mean there that the response is still awaited.
pub(super) fn ended(error: Error) -> Error {
    match error.kind().leaves_command_pending() {
        true => Error::new(ErrorKind::IoError, error),
        false => error,
    }
}

/// Closes what is below a layer that cannot be opened, and returns why.
pub(super) fn close_after(name: &str, mut below: Box<dyn Tcti>, error: Error) -> Error {
    if let Err(other) = below.finalize() {
        crate::sys::log::debug!("{name}: closing what is below: {}", other.report());
    }
    error
}
