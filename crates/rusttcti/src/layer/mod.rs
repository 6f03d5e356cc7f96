// SPDX-License-Identifier: BSD-2-Clause
//! Layers: each is a [`Tcti`](crate::Tcti) around another one. In a chain they stand
//! before the transport, the outermost first: `pcap,file=/tmp/tpm.pcapng:retry:device`.
//!
//! | name | options |
//! | --- | --- |
//! | [`pcap`] | `file=PATH`: where the recording goes |
//! | [`flush`] | none: flushes left-over objects and sessions of a TPM without a resource manager |
//! | [`trace`] | `file=PATH`, `secrets=show`, `verbose=0\|1`: prints each command and response as text |
//! | [`retry`] | `times=N`, `wait=MS`: sends a command again if the TPM was too busy for it |
//! | [`deadline`] | `ms=N`: limits the wait for a response |
//! | [`fault`] | `on=COMMAND`, `nth=N`, `every=N`, `chance=P`, `seed=N`; `rc=CODE`, `delay=MS`, `drop`, `cut=N`, `flip=BIT`, `grow=N`, `close`, `reset`; `side=command\|response`: which commands fail, and how |
//! | [`reset`] | none: power-cycles the TPM when it is opened |
//! | [`startup`] | none: starts the TPM when it is opened |
//! | [`rm`] | `share=0\|1`, `fork=0\|1`, `leftovers=keep\|flush`: a resource manager |
//! | [`wrap`] | `key=null\|FILE`, `handle=HANDLE`, `name=HEX`, `strict=0\|1`, `skip=CODE...`: protects commands and responses from being read or changed (feature `wrap`) |
//!
//! # Write a layer
//!
//! A layer implements `transmit`, `receive`, [`below`](crate::Tcti::below), and the
//! methods that it changes. Each other method of [`Tcti`](crate::Tcti) asks the `Tcti`
//! below, and so do methods of later versions. [`Chains`](crate::Chains) gives the
//! layer a name in a program's chains:
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
//! repository) creates a crate whose module is a layer. Its CONF is the layer's options
//! and then the rest of the chain; [`Options::split`](crate::Options::split) separates
//! them. A program opens it as `rusttcti:foo,key=value:CHAIN`, or as `foo:CHAIN`. The
//! layer of that crate shows options, a delay, poll handles and cancel.
//!
//! # Keep the contract
//!
//! The parts of a chain call each other as the bridge calls the outermost:
//!
//! ```text
//! program ── C ──> bridge ──> layer ──> layer ──> transport ──> TPM
//! ```
//!
//! - **`transmit` never waits for a response.** A layer with commands of its own sends
//!   the first one in `transmit` and goes on in `receive`.
//! - **A timeout loses nothing.** The caller's timeout bounds all that `receive` does.
//!   It returns [`TryAgain`](crate::ErrorKind::TryAgain) when the time is up, and goes
//!   on from there in the next call.
//! - **An error ends the command, or it does not.**
//!   [`ErrorKind::leaves_command_pending`](crate::ErrorKind::leaves_command_pending)
//!   decides, for errors from below and for the layer's own. If a layer calls
//!   `transmit` within `receive`, the error may need another kind.
//! - **Poll handles announce progress.** A layer that waits for something else (a
//!   timer, another TPM) adds its descriptor in `poll_handles`. A program may ask for
//!   the handles only once, before the first command, so include descriptors that
//!   matter only later.
//! - **Cancel reaches the command wherever it is.** The bridge asks for the canceller
//!   after each `transmit`, and calls it from any thread. A layer that sends a command
//!   again, or delays it, returns its own canceller: it knows where the command is, and
//!   takes a lock so that no cancel falls between two commands. It does not try again
//!   after a cancel.
//! - **Options are read before anything opens.** An option that a layer does not take
//!   is an error that names it. A layer that cannot be opened finalizes the `Tcti`
//!   below.
//! - **A forked child has copies of descriptors.** A layer with its own descriptor or
//!   thread overrides [`after_fork`](crate::Tcti::after_fork), calls it on the `Tcti`
//!   below, and makes new ones.
//! - **Sizes change.** A layer that lengthens responses keeps the part that does not
//!   fit, or makes sure that all fits: the buffer is as long as the largest response.
//!
//! The crate `rusttcti-kit` tests a layer against all of this:
//! `rusttcti_kit::conformance!(|| rusttcti::open("libtpms").map(MyLayer::new))`.
//! [`wire`](crate::wire) reads and builds commands and responses.

// If a feature is off, the link in its row must lead nowhere.
#![cfg_attr(not(feature = "wrap"), doc = "", doc = "[`wrap`]: crate::layer")]
#![cfg_attr(not(feature = "pcap"), doc = "", doc = "[`pcap`]: crate::layer")]
#![forbid(unsafe_code)]

pub mod deadline;
mod exit;
pub mod fault;
pub mod flush;
mod opening;
mod own_commands;
mod pause;
#[cfg(feature = "pcap")]
pub mod pcap;
pub mod reset;
mod response;
pub mod retry;
pub mod rm;
pub mod startup;
pub mod trace;
#[cfg(feature = "wrap")]
pub mod wrap;
