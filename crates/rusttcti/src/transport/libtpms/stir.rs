// SPDX-License-Identifier: BSD-2-Clause
//! Stirs the random number generator of a TPM that may be a copy.
//!
//! A state includes the state of the TPM's random number generator. Two TPMs that go on
//! from copies of one state would draw the same numbers: the same nonces, the same new
//! keys, the same responses to TPM2_GetRandom. So the generator of a TPM that goes on
//! from a state is stirred with the system's entropy (TPM2_StirRandom).

#![forbid(unsafe_code)]

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::wire::{CommandBuilder, CommandCode, Header, ResponseCode};
use crate::{Error, ErrorKind, Result};

/// How many bytes of entropy are used: the size of the generator's seed (AES-256 in
/// counter mode: a key and a block).
const BYTES: usize = 48;

/// Returns a TPM2_StirRandom with the system's entropy.
///
/// # Errors
/// The system returns no entropy.
pub(super) fn command() -> Result<Vec<u8>> {
    let mut entropy = [0; BYTES];
    let mut got = 0;
    while got < BYTES {
        match getrandom(&mut entropy[got..], GetRandomFlags::empty()) {
            Ok(more) => got += more,
            Err(Errno::INTR) => {}
            Err(errno) => {
                let error = Error::from(std::io::Error::from(errno));
                return Err(error.context("the system has no random numbers for the TPM"));
            }
        }
    }
    let command = CommandBuilder::new(CommandCode::STIR_RANDOM).sized(&entropy)?;
    Ok(command.build())
}

/// Checks the response.
///
/// # Errors
/// [`ErrorKind::GeneralFailure`] if the generator was not stirred.
pub(super) fn check(response: &[u8]) -> Result<()> {
    let code = Header::parse(response).map_or(0, |header| header.code);
    match ResponseCode(code) {
        // A TPM that is not started yet: its TPM2_Startup takes entropy itself.
        ResponseCode(0) | ResponseCode::INITIALIZE => Ok(()),
        code => Err(Error::new(
            ErrorKind::GeneralFailure,
            format!("the TPM's random numbers cannot be made fresh (TPM2_StirRandom: {code:#})"),
        )),
    }
}
