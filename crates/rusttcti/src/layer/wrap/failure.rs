// SPDX-License-Identifier: BSD-2-Clause
//! Failures: what a response code means for the layer, and the ways in which a
//! command ends early, with a response code for the program or with an error.

#![forbid(unsafe_code)]

use super::command::Command;
use crate::wire::{Header, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// The reason why a command ends early.
pub(super) enum Stop {
    /// The program is answered with this response code.
    Answer(ResponseCode),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The result of a part of the engine's work on a command.
pub(super) type Flow<T> = std::result::Result<T, Stop>;

/// Returns the response code.
///
/// # Errors
/// [`ErrorKind::MalformedResponse`] for bytes that are no response, or a failure
/// with more than a header.
pub(super) fn code_of(response: &[u8]) -> Result<ResponseCode> {
    match Header::parse(response) {
        Some(header)
            if Header::fits(response) && (header.code == 0 || response.len() == Header::SIZE) =>
        {
            Ok(ResponseCode(header.code))
        }
        _ => Err(Error::new(
            ErrorKind::MalformedResponse,
            "the layer wrap: the response is not a TPM response",
        )),
    }
}

/// Returns whether a failure of one of the layer's own commands is one that the
/// program would get without the layer: the TPM is not started, busy, full, or in
/// failure mode.
pub(super) fn is_transient_refusal(code: ResponseCode) -> bool {
    let is_of_a_resource_manager = code.layer() != 0;
    let is_warning = code.is_warning() && code.blamed().is_none();
    let is_out_of_service = matches!(code, ResponseCode::INITIALIZE | ResponseCode::FAILURE);
    is_of_a_resource_manager || is_warning || is_out_of_service
}

/// Checks that one of the layer's own commands succeeded.
///
/// # Errors
/// Those of [`code_of`] and [`own_failure`].
pub(super) fn succeeded(what: &str, response: &[u8]) -> Flow<()> {
    match code_of(response)? {
        ResponseCode::SUCCESS => Ok(()),
        code => Err(own_failure(what, code)),
    }
}

/// Ends the program's command because one of the layer's own failed. The program gets
/// the code if it would get it without the layer.
pub(super) fn own_failure(what: &str, code: ResponseCode) -> Stop {
    if is_transient_refusal(code) {
        return Stop::Answer(code);
    }
    Stop::Error(Error::new(
        ErrorKind::IoError,
        format!(
            "the layer wrap: {what} failed with the response code {:x}",
            code.0
        ),
    ))
}

/// Returns the error for a response that the TPM did not make for this command.
pub(super) fn forged(what: &str) -> Error {
    Error::new(
        ErrorKind::IoError,
        format!(
            "the layer wrap: {what}: something between this program and its TPM changes what \
             passes, or is broken"
        ),
    )
}

/// Returns the error for a response that has another form than the command's.
pub(super) fn malformed(command: &Command) -> Error {
    forged(&format!("the response to {} is malformed", command.code))
}

/// Returns the error for a command that the layer does not handle.
pub(super) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::NotSupported, format!("the layer wrap: {what}"))
}
