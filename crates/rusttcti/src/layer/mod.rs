// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one. In a chain they
//! stand in front of the transport, the outermost first:
//! `pcap,file=/tmp/tpm.pcapng:retry:device`.
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
//! # Write a layer
//!
//! A layer has `transmit`, `receive`, [`below`](crate::Tcti::below), and what it
//! changes. Each other method of [`Tcti`](crate::Tcti) asks what is below, methods
//! of later versions included. [`Chains`](crate::Chains) gives it a name in the
//! chains of a program:
//!
//! ```
//! use std::time::Duration;
//!
//! use rusttcti::{Chains, Options, Result, Tcti};
//!
//! /// Counts the commands.
//! struct Count {
//!     below: Box<dyn Tcti>,
//!     commands: u64,
//! }
//!
//! impl Tcti for Count {
//!     fn transmit(&mut self, command: &[u8]) -> Result<()> {
//!         self.commands += 1;
//!         self.below.transmit(command)
//!     }
//!
//!     fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
//!         self.below.receive(response, timeout)
//!     }
//!
//!     fn below(&mut self) -> Option<&mut dyn Tcti> {
//!         Some(&mut self.below)
//!     }
//! }
//!
//! let chains = Chains::new().layer("count", |options: &mut Options, below: Box<dyn Tcti>| {
//!     let commands = options.take_number("from", (0, 1000), 0)?;
//!     Ok(Count { below, commands })
//! });
//! let tpm = chains.open("count,from=7:flush:libtpms")?;
//! # drop(tpm);
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! For other programs, `make new-module NAME=foo KIND=layer` (in this crate's
//! repository) makes a crate whose module is a layer. Its CONF is the rest of the
//! chain, with the layer's options in front: [`Options::split`](crate::Options::split)
//! takes the two apart. A program reaches it as `rusttcti:foo,key=value:CHAIN`, or
//! as `foo:CHAIN`. The layer of that crate has options, a pause of its own, poll
//! handles and cancel.
//!
//! # Keep the contract
//!
//! The parts of a chain call each other as the bridge calls the outermost:
//!
//! ```text
//! program ── C ──> bridge ──> layer ──> layer ──> transport ──> TPM
//! ```
//!
//! - **`transmit` never waits for a response.** A layer that has commands of its
//!   own sends the first of them in `transmit` and goes on in `receive`.
//! - **A timeout loses nothing.** `receive` takes the caller's timeout for all that
//!   it does. It returns [`TryAgain`](crate::ErrorKind::TryAgain) when the time is
//!   up, and goes on from there in the next call.
//! - **An error ends the command, or doesn't.**
//!   [`ErrorKind::leaves_command_pending`](crate::ErrorKind::leaves_command_pending)
//!   tells for the errors that come from below, and for the layer's own. An error
//!   of a `transmit` that a layer makes within `receive` may need another kind.
//! - **Poll handles tell of progress.** A layer that waits for something of its own
//!   (a timer, another TPM) adds its descriptor in `poll_handles`. A program may
//!   ask for the handles once, before the first command, so a descriptor that will
//!   matter later is among them from the start.
//! - **Cancel reaches the command where it is.** The bridge asks for the canceller
//!   after each `transmit`, and calls it from any thread. A layer that sends a
//!   command anew, or holds it back, gives a canceller of its own: it knows where
//!   the command is, and takes a lock so that no cancel falls between two commands.
//!   A program that cancels wants no further try.
//! - **Options are read before anything opens.** What a layer does not take is an
//!   error that names it. A layer that cannot be opened finalizes what is below.
//! - **A forked child has copies of descriptors.** A layer with a descriptor or a
//!   thread of its own overrides [`after_fork`](crate::Tcti::after_fork), calls it
//!   below, and makes new ones.
//! - **Sizes change.** A layer that makes responses longer keeps what does not fit,
//!   or knows that it fits: the buffer is as long as the largest response.
//!
//! The crate `rusttcti-kit` holds a layer against all of this:
//! `rusttcti_kit::conformance!(|| rusttcti::open("libtpms").map(MyLayer::new))`.
//! [`wire`](crate::wire) reads and builds commands and responses.

// Where a part is left out, its row leads nowhere.
#![cfg_attr(not(feature = "wrap"), doc = "", doc = "[`wrap`]: crate::layer")]
#![cfg_attr(not(feature = "pcap"), doc = "", doc = "[`pcap`]: crate::layer")]
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
