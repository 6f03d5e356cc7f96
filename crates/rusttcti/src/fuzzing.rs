// SPDX-License-Identifier: BSD-2-Clause
//! What the fuzzer reaches that no other program may: it is there in a build
//! with `--cfg fuzzing` only, as cargo-fuzz makes them.

#![forbid(unsafe_code)]

#[cfg(feature = "wrap")]
pub use crate::layer::wrap::fuzzing as wrap;
pub use crate::transport::cmd::stand_in;
#[cfg(feature = "libtpms")]
pub use crate::transport::libtpms::fuzzing::{State, elf, sha1};

/// The level that TSS2_LOG says, as tpm2-tss numbers it.
pub fn log_level(pairs: &str) -> u8 {
    crate::sys::log::level_of(pairs) as u8
}
