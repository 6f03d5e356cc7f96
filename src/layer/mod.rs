// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one.

mod options;
pub mod pcap;

pub use options::Options;
