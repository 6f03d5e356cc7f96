// SPDX-License-Identifier: BSD-2-Clause
//! Runs commands of a layer's own.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::sys::deadline::Deadline;
use crate::wire::{CommandCode, Header};
use crate::{Error, ErrorKind, Result, Tcti};

/// The size of the largest response in bytes.
const LARGEST: usize = 4096;

/// How long a layer waits for its own command before it logs that.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// Calls `wait` with a time to wait until it has an answer, at most for `longest`. A wait
/// of 5 s is logged, and one that ends without an answer is an error that says so.
pub(in crate::layer) fn wait_for<R>(
    name: &str,
    what: impl fmt::Display,
    longest: Duration,
    mut wait: impl FnMut(Duration) -> Result<R>,
) -> Result<R> {
    let deadline = Deadline::after(Some(longest));
    let mut next = deadline.or_after(TOLD_AFTER);
    loop {
        match wait(next.remaining().unwrap_or(longest)) {
            Err(error) if error.kind() == ErrorKind::TryAgain => {}
            answer => return answer,
        }
        if deadline.is_over() {
            let seconds = longest.as_secs();
            return Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "{name}: the TPM did not answer {what} within {seconds} s (is it stopped, \
                     or busy with a long command?)"
                ),
            ));
        }
        if next.is_over() {
            let seconds = TOLD_AFTER.as_secs();
            crate::sys::log::warning!(
                "{name}: the TPM has not answered {what} for {seconds} s, and the wait goes on"
            );
            next = deadline;
        }
    }
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
    let code = Header::parse(command).map_or(0, |header| header.code);
    let length = wait_for(name, CommandCode(code), timeout, |time| {
        below.receive(&mut response, Some(time))
    })?;
    response.truncate(length);
    if !Header::fits(&response) {
        return Err(Error::new(
            ErrorKind::MalformedResponse,
            format!("{name}: the TPM's response is malformed"),
        ));
    }
    Ok(response)
}
