// SPDX-License-Identifier: BSD-2-Clause
//! TPM commands as bytes.

use rusttcti::header::Header;

/// Returns TPM2_GetRandom for `bytes` bytes.
pub fn get_random(bytes: u16) -> Vec<u8> {
    command(0x17b, &bytes.to_be_bytes())
}

/// Returns a command without sessions: its header and these parameters.
pub fn command(code: u32, parameters: &[u8]) -> Vec<u8> {
    let size = (Header::SIZE + parameters.len()) as u32;
    let mut command = Header {
        tag: 0x8001,
        size,
        code,
    }
    .to_bytes()
    .to_vec();
    command.extend_from_slice(parameters);
    command
}

/// Returns the response code of a well-formed response.
pub fn response_code(response: &[u8]) -> u32 {
    assert!(Header::fits(response), "malformed: {response:02x?}");
    Header::parse(response).expect("a header").code
}
