// SPDX-License-Identifier: BSD-2-Clause
//! The parts that a library needs to run inside another program's process.
//!
//! The program decides how it forks, exits, handles signals and uses its descriptors,
//! and it may unload this library at any moment. This library must not disturb the
//! program, and the program's actions must not break a TPM. Each file deals with one of
//! these facts:
//!
//! - **The program forks.** A child gets copies of descriptors and memory, but only the
//!   thread that called fork(2). [`fork`] detects the child, closes descriptors in it,
//!   and delays a fork while a lock of the loader, of glibc or of OpenSSL is held.
//!   [`locks`] has the locks; threads that wait for them register no destructors.
//! - **The program closes its standard streams.** The next file that is opened becomes
//!   descriptor 0, 1 or 2, and the program's messages would go to the TPM.
//!   [`descriptors`] keeps every descriptor of this library above 2, and out of
//!   children.
//! - **The program handles signals.** They interrupt system calls. [`deadline`] and
//!   [`poll`] go on with the remaining time, so no caller sees EINTR and no timeout
//!   grows. [`eventfd`] is a descriptor that signals "ready".
//! - **SIGPIPE would end the program.** [`sigpipe`] blocks it during writes to pipes
//!   that may have no reader, and changes no disposition.
//! - **A signal handler runs on any thread that does not block the signal.**
//!   [`threads`] starts threads that block all signals, and that leave no
//!   destructor behind in the program's own threads.
//! - **The program exits, or calls dlclose(3), without finalizing.** [`exit`] runs
//!   functions that store the state, before or after the program's own atexit(3)
//!   functions. After dlclose, no thread, handler or heap memory of this library may be
//!   left.
//! - **The program is killed.** A child process that this library started must end too:
//!   [`spawn`] asks the kernel to kill it.
//! - **The program is written in C.** Unwinding into C is undefined behaviour:
//!   [`mod@panic`] turns a panic into an error.
//! - **The program has its own messages.** [`log`] follows tpm2-tss's variables, and
//!   keeps no descriptor.
//!
//! [`copy`], [`send_queue`], [`spi`] and [`i2c`] wrap calls to the machine that have
//! nothing to do with the process. [`timer`] is a descriptor for event loops, and
//! [`watch`] adds descriptors to an epoll.

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
pub(crate) mod panic;
pub(crate) mod poll;
pub(crate) mod send_queue;
pub(crate) mod sigpipe;
pub(crate) mod spawn;
pub(crate) mod spi;
pub(crate) mod threads;
pub(crate) mod timer;
pub(crate) mod watch;
