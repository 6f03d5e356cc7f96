// SPDX-License-Identifier: BSD-2-Clause
//! The contract between transports, layers and their callers.

#![forbid(unsafe_code)]

mod error;
mod ext;
mod kind;
mod magic;
mod module;
pub(crate) mod tcti;

pub use error::{Error, Result};
pub use ext::TctiExt;
pub use kind::ErrorKind;
pub use magic::Magic;
pub use module::Module;
#[doc(hidden)]
pub use tcti::Peer;
pub use tcti::{Cancel, PollHandle, Tcti};
