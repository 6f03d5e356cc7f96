// SPDX-License-Identifier: BSD-2-Clause
//! TPM commands as bytes.

use rusttcti::header::Header;
use rusttcti::wire::{CommandBuilder, CommandCode};

/// Returns TPM2_GetRandom for `bytes` bytes.
pub fn get_random(bytes: u16) -> Vec<u8> {
    command(CommandCode::GET_RANDOM, &bytes.to_be_bytes())
}

/// Returns a command without sessions: its header and these parameters.
pub fn command(code: CommandCode, parameters: &[u8]) -> Vec<u8> {
    CommandBuilder::new(code).bytes(parameters).build()
}

/// Returns the response code of a well-formed response.
pub fn response_code(response: &[u8]) -> u32 {
    assert!(Header::fits(response), "malformed: {response:02x?}");
    Header::parse(response).expect("a header").code
}
