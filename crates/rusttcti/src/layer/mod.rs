// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one.
//!
//! | name | options |
//! | --- | --- |
//! | [`pcap`] | `file=PATH`: where the recording goes |
//! | [`flush`] | none: it makes room in a TPM that has no resource manager |
//! | [`trace`] | `file=PATH`, `secrets=show`, `verbose=0\|1`: shows each command and response in words |
//! | [`retry`] | `times=N`, `wait=MS`: sends a command again that the TPM was too busy for |
//! | [`deadline`] | `ms=N`: how long a wait for a response may last |
//! | [`fault`] | `on=COMMAND`, `nth=N`, `every=N`, `chance=P`, `seed=N`; `rc=CODE`, `delay=MS`, `drop`, `cut=N`, `flip=BIT`, `grow=N`, `close`, `reset`; `side=command\|response`: which commands fail, and how |
//! | [`reset`] | none: it power-cycles the TPM when it is opened |
//! | [`startup`] | none: it starts the TPM when it is opened |
//! | [`rm`] | `share=0\|1`, `fork=0\|1`, `leftovers=keep\|flush`: a resource manager |
//! | [`wrap`] | `key=null\|FILE`, `handle=HANDLE`, `name=HEX`, `strict=0\|1`, `skip=CODE...`: what passes can be neither read nor changed (feature `wrap`) |
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

pub mod deadline;
pub mod fault;
pub mod flush;
mod own;
mod pause;
#[cfg(feature = "pcap")]
pub mod pcap;
pub mod reset;
pub mod retry;
pub mod rm;
pub mod startup;
pub mod trace;
#[cfg(feature = "wrap")]
pub mod wrap;
