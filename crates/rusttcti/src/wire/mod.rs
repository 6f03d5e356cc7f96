// SPDX-License-Identifier: BSD-2-Clause
//! The bytes that a TPM and its users exchange.
//!
//! [`CommandView`] and [`ResponseView`] take a command and its response apart, and
//! [`CommandBuilder`] and [`ResponseBuilder`] put them together. The specification's
//! description of each command is in one table, [`Command`]. [`frame`] has the
//! protocols that carry commands and responses on a byte stream. Nothing here does I/O.
//!
//! "Part 1" to "Part 3" are those of the TCG's TPM 2.0 Library specification,
//! with the sections of revision 1.59.

#![forbid(unsafe_code)]

pub(crate) mod assembly;
mod auth;
mod build;
mod capabilities;
mod code;
mod command;
mod constants;
pub(crate) mod cursor;
pub mod frame;
mod handle;
pub mod header;
mod info;
mod rc;
pub mod recording;
mod response;
mod table;
#[cfg(test)]
mod test_bytes;

pub use auth::{AuthCommand, AuthResponse, Auths, SessionAttributes};
pub use build::{CommandBuilder, ResponseBuilder};
pub use capabilities::CapabilityView;
pub use code::CommandCode;
pub use command::{CommandView, HandleView};
pub use constants::{capability, property, session_type, startup_type, tag};
pub use handle::{Handle, HandleType};
pub use header::Header;
pub use info::{Command, DurationClass, Flushes, HandleInfo, HandleKind, Role};
pub use rc::{Blamed, ResponseCode};
pub use response::ResponseView;
