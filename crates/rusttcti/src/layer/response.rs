// SPDX-License-Identifier: BSD-2-Clause
//! Responses that a layer itself gives to the program, and errors that end the
//! program's command.

#![forbid(unsafe_code)]

use crate::wire::{ResponseBuilder, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// Returns the response that is a response code and nothing more.
pub(super) fn failure(code: ResponseCode) -> Vec<u8> {
    ResponseBuilder::new(code).build()
}

/// Puts a response into the caller's buffer.
pub(super) fn put(name: &str, response: &[u8], buffer: &mut [u8]) -> Result<usize> {
    let (length, room) = (response.len(), buffer.len());
    let Some(to) = buffer.get_mut(..length) else {
        return Err(Error::new(
            ErrorKind::MalformedResponse,
            format!("{name}: the response has {length} bytes, but the buffer has {room}"),
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
