// SPDX-License-Identifier: BSD-2-Clause
//! The parsers of this transport, for the fuzzer.

#![forbid(unsafe_code)]

use super::elf::Elf;
use super::{digest, state};

/// A state, as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// libtpms's permanent state.
    pub permanent: Vec<u8>,
    /// libtpms's volatile state.
    pub volatile: Vec<u8>,
    /// It was running, rather than suspended.
    pub powered_off: bool,
}

impl State {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state = state::State::parse(bytes)?;
        Ok(Self {
            permanent: state.permanent.to_vec(),
            volatile: state.volatile.to_vec(),
            powered_off: state.condition == state::Condition::PoweredOff,
        })
    }

    /// The bytes of a file.
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

/// What a volatile state of libtpms ends with, of all before it.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest::sha1(bytes)
}

/// Of a library's file, the segments (offset, address and size, and whether the
/// loader leaves them as they are) and where its name is.
pub fn elf(file: &[u8]) -> Option<(Vec<(u64, u64, u64, bool)>, u64)> {
    let elf = Elf::parse(file)?;
    let segments = elf.segments.iter();
    let segments = segments.map(|s| (s.offset, s.address, s.size, s.is_constant()));
    Some((segments.collect(), elf.soname))
}
