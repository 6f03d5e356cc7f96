// SPDX-License-Identifier: BSD-2-Clause
//! The users' configuration: `key=value` strings, the options of layers, and the
//! settings that help, messages and the manual page are made from.

#![forbid(unsafe_code)]

mod opening;
mod options;
mod pairs;
pub(crate) mod setting;

pub(crate) use opening::{Configured, OpenLayer, OpenTransport, parsed};
pub use options::Options;
pub(crate) use pairs::{bad_value, pairs, port, unknown_key};
