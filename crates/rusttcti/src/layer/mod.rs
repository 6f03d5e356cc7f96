// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one.
//!
//! | name | options |
//! | --- | --- |
//! | [`pcap`] | `file=PATH`: where the recording goes |
//! | [`flush`] | none: it makes room in a TPM that has no resource manager |
//!
//! A chain string knows those of this module and no other. A layer of one's own
//! is a type that holds a `Tcti` and is one: it wraps what
//! [`rusttcti::open`](crate::open) returns, and goes from there to
//! [`Context`](crate::Context), or into a [`Module`](crate::Module) whose
//! `init` opens the rest of its configuration as a chain.
//!
//! ```
//! use std::time::Duration;
//!
//! use rusttcti::{Context, Result, Tcti};
//!
//! /// Counts the commands.
//! struct Count<T: Tcti>(T, u64);
//!
//! impl<T: Tcti> Tcti for Count<T> {
//!     fn transmit(&mut self, command: &[u8]) -> Result<()> {
//!         self.1 += 1;
//!         self.0.transmit(command)
//!     }
//!
//!     fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
//!         self.0.receive(response, timeout)
//!     }
//!
//!     // The optional methods ask what this one returns.
//!     fn below(&mut self) -> Option<&mut dyn Tcti> {
//!         Some(&mut self.0)
//!     }
//! }
//!
//! let context = Context::new(Count(rusttcti::open("null")?, 0));
//! # drop(context);
//! # Ok::<(), rusttcti::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod flush;
#[cfg(feature = "pcap")]
pub mod pcap;
