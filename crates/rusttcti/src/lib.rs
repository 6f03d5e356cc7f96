// SPDX-License-Identifier: BSD-2-Clause
//! TPM transports (TCTIs) in Rust that every program of the TPM2 software
//! stack can load.
//!
//! A TCTI (TPM Command Transmission Interface) is the lowest layer of that
//! stack: it carries commands to a TPM and responses back. This crate has the
//! usual transports, which the module `libtss2-tcti-rusttcti.so.0` gives to every
//! program (`tpm2_getrandom -T rusttcti:libtpms`), and the means to write, load
//! and combine more.
//!
//! | to | see |
//! | --- | --- |
//! | write a transport | [`Stream`], [`Tcti`], [`Module`], [`export!`] |
//! | write a layer | [`layer`], [`Options`], [`Chains`] |
//! | open what there is | [`open`], [`Chain`], [`transport`], [`layer`] |
//! | load a C module, use a C context | [`TctiLdr`], [`Native`] |
//! | give a transport to ESYS or other C code | [`Context`], [`Esys`], [`OwnedEsys`] |
//! | send a command | [`TctiExt::execute`], [`wire`] |
//! | come from Python | [`coming_from_pytcti`] |
//!
//! # Write a transport
//!
//! A transport is a type with the two required methods of [`Tcti`]. If a byte stream
//! leads to the TPM, [`Stream`] has them already; the page of [`Tcti`] shows a whole
//! transport. [`Module`] gives it a name, and [`export!`] makes a module of its crate,
//! which every program finds as `libtss2-tcti-NAME.so.0`. `make new-module NAME=foo`,
//! in this crate's repository, makes such a crate with tests; `KIND=layer` makes one
//! for a layer.
//!
//! Within a Rust program you need no module. [`Context`] gives a transport to ESYS or
//! to any C code:
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
//! The build needs pkg-config and the headers of tpm2-tss (Debian: `pkg-config
//! libtss2-dev`). The C types are those of the crate `tss-esapi-sys`, version 0.6. A
//! program that uses them depends on that crate too.
//!
//! # Test a transport
//!
//! A test may call the methods directly. A [`Context`] around the transport calls them
//! as C does, with all checks of the bridge. [`open`]`("libtpms")` is a TPM for the
//! other end of a transport, or below a layer:
//!
//! ```
//! use rusttcti::wire::{CommandBuilder, CommandCode};
//! use rusttcti::{Context, Tcti, TctiExt};
//!
//! # let transport = rusttcti::open("libtpms")?;
//! let mut context = Context::new(transport);
//! assert!(context.receive(&mut [0; 4096], None).is_err()); // out of sequence
//! let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
//! assert_eq!(context.execute(&get_random, None)?.len(), 28);
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! The crate `rusttcti-kit` tests a transport against the whole contract: by
//! `rusttcti_kit::conformance!(module Tss2_Tcti_Info, CONF)` in the tests of a crate
//! with [`export!`], by `conformance!(|| MyTransport::open())` in other tests, or by
//! `tcti-check -T ./target/debug/libNAME.so:CONF` for the module that cargo built.
//! [`TctiLdr::parse`] loads such a file as programs do. Failed calls are written to
//! standard error, which cargo does not capture, unless `TSS2_LOG` is `tcti+none`.
//!
//! # Open and combine
//!
//! [`open`] takes a chain, the string after `rusttcti:`. [`TctiLdr`] loads any C module
//! by name, and [`Native`] uses a context that C code made. All of them are [`Tcti`]s,
//! as a [`Context`] is. A [layer] is a `Tcti` around another one, and stands in front
//! of it in a chain: `pcap,file=/tmp/tpm.pcapng:swtpm:port=2321`.
//!
//! ```
//! use rusttcti::wire::{CommandBuilder, CommandCode};
//! use rusttcti::{ErrorKind, Tcti};
//!
//! let mut tcti = rusttcti::open("null")?;
//! let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
//! let error = tcti.transmit(&get_random).expect_err("there is no TPM");
//! assert_eq!(error.kind(), ErrorKind::NotImplemented);
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! # Errors
//!
//! An [`Error`] has a kind, a sentence and a cause. C gets the `TSS2_RC` of its kind,
//! and the sentence from `Tss2_Tcti_Rusttcti_LastError()`. Rust code gets more of an
//! error that came through C's functions:
//!
//! - From a Rust transport of this process, the original error with all causes:
//!   by [`Native`], by [`Context::last_error`], and by [`Esys::check`] after an
//!   ESYS call.
//! - From a transport in another module that was made with this crate, the
//!   response code and the sentence.
//! - From any other C module, the response code with the text of tss2-rc.
//!
//! To find an error of your own type, follow [`source()`](std::error::Error::source)
//! and use `downcast_ref`. A panic in a transport becomes an
//! [`ErrorKind::GeneralFailure`] with its message, after the program's panic hook has
//! run.
//!
//! A transport writes no log: the bridge logs the errors of calls, as `TSS2_LOG`
//! selects (module `tcti`). The level is error, or debug for
//! [`TryAgain`](ErrorKind::TryAgain), [`NotImplemented`](ErrorKind::NotImplemented) and
//! [`InsufficientBuffer`](ErrorKind::InsufficientBuffer). At the level trace all
//! commands and responses are logged.
//!
//! # Threads and fork
//!
//! A context may move between threads. If two threads use it at the same time, a call
//! may fail with [`ErrorKind::BadSequence`]; only cancel is meant for that.
//!
//! After fork(2) a context belongs to the parent. The child's calls fail with
//! [`ErrorKind::BadContext`], and the child can open its own contexts. The exception is
//! a transport that makes a new connection in the child (`swtpm`, and `rm,fork=1` over
//! it or the device).
//!
//! No signal's disposition or mask is changed, no SIGPIPE is raised, and no EINTR is
//! returned. There are two exceptions for SIGPIPE: a transport of your own in a
//! [`Context`], and a C module in a [`TctiLdr`]. There the program's disposition
//! applies, and Rust's runtime ignores SIGPIPE. [`Stream`] raises none there either.
//!
//! # What C can rely on
//!
//! - Every pointer, size and state is checked before a transport is called.
//! - A response that doesn't fit is kept. A response with a wrong size in its header
//!   never reaches the caller.
//! - No unwinding crosses into C, and no memory beyond the caller's buffer is
//!   touched.
//! - finalize may be called twice.
//! - The module exports the functions of its header and nothing else, and leaves
//!   nothing behind when it is unloaded. Once several threads have used embedded
//!   TPMs ([`transport::libtpms`]), it stays loaded until the process ends.
//!
//! # Cargo features
//!
//! A crate for a small system leaves out unused parts by `default-features = false`. A
//! chain that names such a part is refused with an error that names the feature.
//!
//! | feature | default | what it has |
//! | --- | --- | --- |
//! | `libtpms` | on | the transports `libtpms` and `libtpms-copy`: TPMs inside the process |
//! | `pcap` | on | the layer `pcap`, and with it the crate `pcap-file` |
//! | `wrap` | off | the layer `wrap`, and with it the cryptography of RustCrypto |

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
// Without some features, parts of these modules have no user.
#[cfg_attr(
    not(all(feature = "libtpms", feature = "pcap", feature = "wrap")),
    allow(dead_code, unused_macros, unused_imports)
)]
mod sys;
pub mod transport;
pub mod wire;

#[doc = include_str!("coming-from-pytcti.md")]
pub mod coming_from_pytcti {}

pub use abi::{Context, ContextBuilder, Esys, Native, OwnedEsys, TctiInfo, TctiLdr};
pub use chain::{Chain, Chains, open};
pub use config::Options;
#[doc(hidden)]
pub use contract::Peer;
pub use contract::{Cancel, Error, ErrorKind, Magic, Module, PollHandle, Result, Tcti, TctiExt};
pub use transport::stream::{Pipes, Stream};
pub use wire::header;

#[doc(hidden)]
pub use abi::__private;

/// Loads the C modules that a chain names: the chain, below, asks the C boundary,
/// above, through this alone.
pub(crate) static C_MODULES: &dyn chain::LoadModule = &abi::Loader;
