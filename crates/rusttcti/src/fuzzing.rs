// SPDX-License-Identifier: BSD-2-Clause
//! Functions for the fuzzer alone. They exist only in a build with `--cfg fuzzing`,
//! which cargo-fuzz sets.

#![forbid(unsafe_code)]

#[cfg(feature = "wrap")]
pub use crate::layer::wrap::fuzzing as wrap;
pub use crate::transport::cmd::stand_in;
#[cfg(feature = "libtpms")]
pub use crate::transport::libtpms::fuzzing::{State, elf, sha1};

/// Returns the level that a value of TSS2_LOG sets, as tpm2-tss numbers it.
pub fn log_level(pairs: &str) -> u8 {
    crate::sys::log::level_of(pairs) as u8
}
