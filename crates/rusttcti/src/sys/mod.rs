// SPDX-License-Identifier: BSD-2-Clause
//! The means of a library to live in another program's process.
//!
//! The program decides how it forks, exits, handles signals and uses its
//! descriptors, and it may unload this library at any moment. Nothing here may
//! disturb it, and nothing that it does may break a TPM. Each file answers one
//! of these facts:
//!
//! - **The program forks.** A child gets copies of descriptors and memory, but
//!   only the thread that called fork(2). [`fork`] tells a child from its
//!   parent, closes descriptors in the child, and holds a fork off while a lock
//!   of the loader, of glibc or of OpenSSL is held. [`locks`] has the locks;
//!   their waiting threads register no destructors.
//! - **The program closes its standard streams.** The next file that is opened
//!   becomes descriptor 0, 1 or 2, and the program's messages go to the TPM.
//!   [`descriptors`] keeps every descriptor of ours above 2, and out of children.
//! - **The program handles signals.** They interrupt system calls. [`deadline`]
//!   and [`poll`] go on with the time that is left, so that no caller ever sees
//!   EINTR and no timeout grows. [`eventfd`] is a descriptor that says "ready".
//! - **SIGPIPE would end the program.** [`sigpipe`] keeps it away where a write
//!   may meet a pipe without a reader, and changes no disposition.
//! - **A signal handler runs on any thread that does not block the signal.**
//!   [`threads`] starts threads that block all signals, and that leave no
//!   destructor behind in the program's own threads.
//! - **The program exits, or calls dlclose(3), without finalizing.** [`exit`]
//!   stores what must be stored, before or after the program's own atexit(3)
//!   functions. No thread, handler or heap of ours may be left after dlclose.
//! - **The program is killed.** A child process of ours must not live on:
//!   [`spawn`] asks the kernel to end it.
//! - **The program is written in C.** Unwinding into C is undefined behaviour:
//!   [`mod@panic`] turns a panic into an error.
//! - **The program's messages are its own.** [`log`] says nothing unless
//!   tpm2-tss's variables ask for it, and keeps no descriptor.
//!
//! [`copy`], [`outq`], [`spi`] and [`i2c`] are about the machine rather than the
//! process. [`timer`] and [`watch`] are descriptors for event loops.

pub(crate) mod copy;
pub(crate) mod deadline;
pub(crate) mod descriptors;
pub(crate) mod eventfd;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod i2c;
pub(crate) mod locks;
pub(crate) mod long_wait;
#[macro_use]
pub(crate) mod log;
pub(crate) mod outq;
pub(crate) mod panic;
pub(crate) mod poll;
pub(crate) mod sigpipe;
pub(crate) mod spawn;
pub(crate) mod spi;
pub(crate) mod threads;
pub(crate) mod timer;
pub(crate) mod watch;
