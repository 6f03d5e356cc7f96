// SPDX-License-Identifier: BSD-2-Clause
//! The errors of the bridge itself: calls that it refuses, and malformed responses of a
//! transport. They are in a separate file and marked cold, so that the code of commands
//! that succeed stays small.

#![forbid(unsafe_code)]

use super::bridge::State;
use crate::wire::header::Header;
use crate::{Error, ErrorKind};

#[cold]
pub(super) fn bad_command(command: &[u8]) -> Error {
    let text = match Header::parse(command) {
        None => format!(
            "the command has {} bytes, which is less than a header",
            command.len()
        ),
        Some(header) => format!(
            "the command has {} bytes, but its header says {}",
            command.len(),
            header.size
        ),
    };
    Error::new(ErrorKind::BadValue, text)
}

#[cold]
pub(super) fn malformed(response: &[u8]) -> Error {
    let text = match Header::parse(response) {
        None => format!(
            "the response has {} bytes, which is less than a header",
            response.len()
        ),
        Some(header) => format!(
            "the response has {} bytes, but its header says {}",
            response.len(),
            header.size
        ),
    };
    Error::new(ErrorKind::MalformedResponse, text)
}

#[cold]
pub(super) fn beyond(length: usize, place: usize) -> Error {
    Error::new(
        ErrorKind::MalformedResponse,
        format!("the transport claims a response of {length} bytes in a buffer of {place}"),
    )
}

#[cold]
pub(super) fn too_small(length: usize, given: usize) -> Error {
    Error::new(
        ErrorKind::InsufficientBuffer,
        format!("the response has {length} bytes, but the caller's buffer has {given}"),
    )
}

#[cold]
pub(super) fn bad_timeout(timeout: i32) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("the timeout {timeout} ms is not allowed (it is -1 for ever, or 0 and more)"),
    )
}

#[cold]
pub(super) fn null(argument: &str) -> Error {
    Error::new(ErrorKind::BadReference, format!("{argument} is NULL"))
}

#[cold]
pub(super) fn busy() -> Error {
    Error::new(
        ErrorKind::BadSequence,
        "another thread is in a call on this context",
    )
}

#[cold]
pub(super) fn bad_sequence(state: State) -> Error {
    let why = match state {
        State::Transmit => "no command was sent",
        State::Receive => "a command was sent and its response not yet received",
        State::Final => "the context was finalized",
    };
    Error::new(ErrorKind::BadSequence, why)
}
