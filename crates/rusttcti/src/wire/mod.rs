// SPDX-License-Identifier: BSD-2-Clause
//! The bytes that a TPM and its users exchange.

#![forbid(unsafe_code)]

pub(crate) mod assembly;
pub mod header;

pub use header::Header;
