// SPDX-License-Identifier: BSD-2-Clause
//! What the fuzzer reaches that no other program may: it is there in a build
//! with `--cfg fuzzing` only, as cargo-fuzz makes them.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use crate::Result;

pub use crate::transport::cmd::stand_in;
pub use crate::transport::libtpms::fuzzing::{State, elf, sha1};

/// A chain that was read and not opened.
#[derive(Debug)]
pub struct Chain {
    /// Its layers, and the file of each that has one.
    pub layers: Vec<Option<OsString>>,
    /// Its name and CONF.
    pub transport: Option<(String, Option<String>)>,
    /// Where the transport's peer is, of one that has one.
    pub place: Option<Place>,
}

/// Where a peer is.
#[derive(Debug)]
pub struct Place {
    /// A name or an address.
    pub host: String,
    /// The data channel's.
    pub port: u16,
    /// It counts if there is one.
    pub path: Option<String>,
}

/// Reads a chain, to the last option.
///
/// # Errors
/// Those of [`open`](crate::open) for a chain with a mistake.
pub fn chain(chain: &str) -> Result<Chain> {
    crate::chain::read(chain)
}

/// The level that TSS2_LOG says, as tpm2-tss numbers it.
pub fn log_level(pairs: &str) -> u8 {
    crate::sys::log::level_of(pairs) as u8
}
