// SPDX-License-Identifier: BSD-2-Clause
//! The parsers of this transport, for the fuzzer.

#![forbid(unsafe_code)]

use super::elf::Elf;
use super::{digest, state};

/// A state, as it is stored in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// libtpms's permanent state.
    pub permanent: Vec<u8>,
    /// libtpms's volatile state.
    pub volatile: Vec<u8>,
    /// Whether the TPM was running, not suspended.
    pub powered_off: bool,
}

impl State {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// A text that says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state = state::State::parse(bytes)?;
        Ok(Self {
            permanent: state.permanent.to_vec(),
            volatile: state.volatile.to_vec(),
            powered_off: state.condition == state::Condition::PoweredOff,
        })
    }

    /// Returns the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let condition = match self.powered_off {
            true => state::Condition::PoweredOff,
            false => state::Condition::Suspended,
        };
        state::State {
            permanent: &self.permanent,
            volatile: &self.volatile,
            condition,
        }
        .to_bytes()
    }
}

/// Returns the digest at the end of a volatile state of libtpms, of the bytes before
/// it.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest::sha1(bytes)
}

/// Returns the segments of a library's file (offset, address, size, and whether the
/// loader leaves them unchanged), and the offset of its name.
pub fn elf(file: &[u8]) -> Option<(Vec<(u64, u64, u64, bool)>, u64)> {
    let elf = Elf::parse(file)?;
    let segments = elf.segments.iter();
    let segments = segments.map(|s| (s.offset, s.address, s.size, s.is_constant()));
    Some((segments.collect(), elf.soname))
}
