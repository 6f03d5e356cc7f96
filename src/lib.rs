// SPDX-License-Identifier: BSD-2-Clause
//! TPM transports (TCTIs) in Rust that every program of the TPM2 software
//! stack can load.

#![deny(missing_docs)]
#![warn(unreachable_pub)]

mod abi;
mod chain;
mod conf;
mod error;
pub mod header;
mod io;
pub mod layer;
mod log;
mod tcti;
pub mod transport;

#[cfg(feature = "capi")]
mod capi;

pub use abi::{Context, ContextBuilder, Magic, Module, Native, TctiInfo, TctiLdr};
pub use chain::open;
pub use error::{Error, ErrorKind, Result};
pub use tcti::{Cancel, PollHandle, Tcti};

#[doc(hidden)]
pub use abi::__private;
