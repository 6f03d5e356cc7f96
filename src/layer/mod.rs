// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one.
//!
//! A chain string knows those of this module and no other. A layer of one's own
//! is a type that holds a `Tcti` and is one: it wraps what
//! [`rusttcti::open`](crate::open) returns, and goes from there to
//! [`Context`](crate::Context), or into a [`Module`](crate::Module) whose
//! `init` opens the rest of its configuration as a chain.

mod options;
pub mod pcap;

pub(crate) use options::Options;
