// SPDX-License-Identifier: BSD-2-Clause
//! Stream sockets for swtpm and mssim: a peer's address ([`Endpoint`]), a connection to
//! it ([`Stream`]), and the response that arrives over it, in any number of parts
//! ([`Inbox`]).

#![forbid(unsafe_code)]

mod absence;
mod endpoint;
mod inbox;
mod reach;
mod stream;

pub(super) use absence::{WAIT, parse_wait, until_there};
pub use endpoint::PeerAddress;
pub(super) use endpoint::{Endpoint, HOST, PATH, PORT};
pub(super) use inbox::Inbox;
pub(super) use stream::{Fault, Stream};
