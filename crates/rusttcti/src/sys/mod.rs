// SPDX-License-Identifier: BSD-2-Clause
//! Living in somebody else's process: forks, signals, descriptors, threads and
//! exits that belong to a program which knows nothing of this library.

pub(crate) mod copy;
pub(crate) mod deadline;
pub(crate) mod descriptors;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod i2c;
pub(crate) mod locks;
#[macro_use]
pub(crate) mod log;
pub(crate) mod outq;
pub(crate) mod panic;
pub(crate) mod sigpipe;
pub(crate) mod spawn;
pub(crate) mod spi;
pub(crate) mod threads;
pub(crate) mod timer;
pub(crate) mod watch;
