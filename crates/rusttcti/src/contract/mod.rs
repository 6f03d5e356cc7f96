// SPDX-License-Identifier: BSD-2-Clause
//! What transports, layers and their callers agree on.

#![forbid(unsafe_code)]

mod error;
mod ext;
mod magic;
mod module;
pub(crate) mod tcti;

pub use error::{Error, ErrorKind, Result};
pub use ext::TctiExt;
pub use magic::Magic;
pub use module::Module;
#[doc(hidden)]
pub use tcti::Peer;
pub use tcti::{Cancel, PollHandle, Tcti};
