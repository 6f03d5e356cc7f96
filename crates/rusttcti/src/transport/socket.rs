// SPDX-License-Identifier: BSD-2-Clause
//! Stream sockets as swtpm and mssim need them: where a peer is
//! ([`Endpoint`]), a connection to it ([`Stream`]), and a response that comes
//! in over it, in however many pieces ([`Inbox`]).

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
