// SPDX-License-Identifier: BSD-2-Clause
//! Stream sockets for swtpm and mssim: a peer's address ([`Endpoint`]), a connection to
//! it ([`Stream`]), and the response that arrives over it, in any number of parts
//! ([`Inbox`]).

#![forbid(unsafe_code)]

mod congestion;
mod endpoint;
mod inbox;
mod stream;
mod wait_option;

pub use endpoint::PeerAddress;
pub(super) use endpoint::{Endpoint, HOST, PATH, PORT};
pub(super) use inbox::Inbox;
pub(super) use stream::{Fault, Stream};
pub(super) use wait_option::{WAIT, parse_wait, until_there};
