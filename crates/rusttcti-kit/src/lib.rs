// SPDX-License-Identifier: BSD-2-Clause
//! The conformance kit and the test peers of rusttcti.

// The `new` functions here start processes and make files, so `Default` would mislead.
#![allow(clippy::new_without_default)]
#![deny(missing_docs)]

pub mod again;
pub mod alloc;
pub mod chains;
pub mod commands;
pub mod conformance;
pub mod counter;
pub mod hostile;
pub mod loaded;
pub mod long;
pub mod model;
pub mod model_tpm;
pub mod module;
pub mod mssim;
pub mod peer;
pub mod poll;
pub mod ports;
pub mod proc;
pub mod pty;
pub mod random;
pub mod raw_server;
pub mod rights;
pub mod scripted;
pub mod sha256;
pub mod signals;
pub mod sshd;
pub mod stage;
pub mod strace;
pub mod swtpm;
pub mod tis_chip;
pub mod tpm;
pub mod tshark;
pub mod vtable;
pub mod worker;

pub use conformance::{Check, Outcome, Report, Row, Subject, check, check_only, checks};

/// How long a test waits, at most, for what must happen. It happens at once on an idle
/// machine; a test that has waited so long fails.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
