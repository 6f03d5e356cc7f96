// SPDX-License-Identifier: BSD-2-Clause
//! TPM transports (TCTIs) in Rust that every program of the TPM2 software
//! stack can load.
//!
//! A TCTI (TPM Command Transmission Interface) is the lowest layer of that
//! stack: it carries commands to a TPM and responses back. This crate is a
//! loadable module with the usual transports (`tpm2_getrandom -T
//! rusttcti:libtpms`), and what is needed to write, load and combine more.
//!
//! # Write one
//!
//! A transport is a type with the two required methods of [`Tcti`]; that
//! trait's page shows a whole one. With [`Module`] it gets a name, and
//! [`export!`] makes a crate of `crate-type = ["cdylib"]` a module of it that
//! tctildr and every program finds as `libtss2-tcti-NAME.so.0`. In one's own
//! process, [`Context`] hands it to ESYS or to any C code:
//!
//! ```
//! use rusttcti::Context;
//! use rusttcti::transport::null::Null;
//!
//! let context = Context::new(Null::default());
//! let esys = context.esys()?; // an ESYS_CONTEXT, as esys.as_ptr()
//! let tcti = context.as_ptr(); // a TSS2_TCTI_CONTEXT, for other C code
//! # assert!(!tcti.is_null() && !esys.as_ptr().is_null());
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! To build needs pkg-config and the headers of tpm2-tss (Debian:
//! `pkg-config libtss2-dev`). The C types are those of the crate
//! `tss-esapi-sys`, version 0.6, which a program that names them depends on too.
//!
//! The one Cargo feature, `capi`, compiles the C functions of this crate's own
//! module. It is off, and stays so for a crate with `export!`: the linker would
//! find a "duplicate symbol: `Tss2_Tcti_Info`".
//!
//! # Test one
//!
//! Its methods can be called as they are. Those of a [`Context`] around it are
//! called as C calls them, with all the bridge's checks between. And
//! [`open`]`("libtpms")` is a TPM for the other end of a transport, or for the
//! inside of a layer:
//!
//! ```
//! use rusttcti::{Context, Tcti};
//!
//! # let transport = rusttcti::open("libtpms")?;
//! let mut context = Context::new(transport);
//! let mut response = [0; 4096];
//! assert!(context.receive(&mut response, None).is_err()); // out of sequence
//! context.transmit(&[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16])?; // TPM2_GetRandom
//! assert_eq!(context.receive(&mut response, None)?, 28);
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! A library that cargo built is loaded as programs load it by
//! [`TctiLdr::parse`]`("./target/debug/libNAME.so:CONF")`. What calls fail with
//! is written to standard error, past cargo's capture, unless `TSS2_LOG` is
//! `tcti+none`. The crate that `make new-module` makes has tests to begin with.
//!
//! # Load one
//!
//! [`open`] takes a chain, the string behind `rusttcti:`; [`TctiLdr`] any C
//! module by name; [`Native`] a context that C code made. All of them are
//! [`Tcti`]s, as a [`Context`] is.
//!
//! ```
//! use rusttcti::{ErrorKind, Tcti};
//!
//! let mut tcti = rusttcti::open("null")?;
//! let get_random = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];
//! let error = tcti.transmit(&get_random).expect_err("there is no TPM");
//! assert_eq!(error.kind(), ErrorKind::NotImplemented);
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! # Compose
//!
//! A layer is a `Tcti` around another one: those in [`layer`] wrap any, and so
//! do your own, over what [`open`] returns too. In a chain the layers stand in
//! front: `pcap,file=/tmp/tpm.pcapng:swtpm:port=2321`.
//!
//! # Errors
//!
//! An [`Error`] is a kind, a sentence and a cause. C sees the `TSS2_RC` of its
//! kind, and the sentence by `Tss2_Tcti_Rusttcti_LastError()`. Rust code that
//! reaches a Rust transport through C's functions, by [`Native`], gets the
//! original error back, source chain included; of a transport in another
//! module made with this crate it gets the response code and the words, of any
//! other C module tss2-rc's words for the code. An error of one's own type is
//! found behind those that say what was being done by walking
//! [`source()`](std::error::Error::source) and `downcast_ref`. A panic in a
//! transport is a [`ErrorKind::GeneralFailure`] with its message; what the
//! program's panic hook prints, it prints as well.
//!
//! What a call fails with is in the log, so that a transport writes none: where
//! `TSS2_LOG` says (module `tcti`), at the level error, or debug for
//! [`TryAgain`](ErrorKind::TryAgain), [`NotImplemented`](ErrorKind::NotImplemented)
//! and [`InsufficientBuffer`](ErrorKind::InsufficientBuffer); at the level trace
//! so are all commands and responses.
//!
//! # Threads and fork
//!
//! A context may move between threads. Two threads that use one at once get
//! [`ErrorKind::BadSequence`] at worst; cancel alone is meant for that. After
//! fork(2) a context stays its parent's: the child's calls fail with
//! [`ErrorKind::BadContext`], and it can open contexts of its own. No signal's
//! disposition or mask is changed, no SIGPIPE is raised and no EINTR returned. (A
//! transport of one's own in a [`Context`], or a C module in a [`TctiLdr`], has
//! the SIGPIPE of the program that made them: Rust's start ignores it.)
//!
//! # What C can rely on
//!
//! Every pointer, size and state is checked before a transport is called; a
//! response that doesn't fit is kept; a response that lies about its size never
//! reaches the caller; no unwinding crosses into C; memory beyond the caller's
//! buffer is not touched; finalize may be called twice. The module exports the
//! functions of its header and nothing else, and leaves nothing behind when it
//! is unloaded. Once several threads have used embedded TPMs
//! ([`transport::libtpms`]), it stays loaded until the process ends.
//!
//! Coming from Python? [`coming_from_pytcti`] has each name beside its
//! counterpart here.

#![deny(missing_debug_implementations, missing_docs)]
#![warn(unreachable_pub)]

mod abi;
mod chain;
mod config;
mod contract;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod layer;
#[macro_use]
mod sys;
pub mod transport;
pub mod wire;

#[doc = include_str!("coming-from-pytcti.md")]
pub mod coming_from_pytcti {}

pub use abi::{Context, ContextBuilder, Esys, Native, TctiInfo, TctiLdr};
pub use chain::{Chain, Chains, open};
pub use config::Options;
pub use contract::{Cancel, Error, ErrorKind, Magic, Module, PollHandle, Result, Tcti};
pub use wire::header;

#[doc(hidden)]
pub use abi::__private;

/// Loads the C modules that a chain names: the chain, below, asks the C boundary,
/// above, through this alone.
pub(crate) static C_MODULES: &dyn chain::LoadModule = &abi::Loader;
