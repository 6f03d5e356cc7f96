// SPDX-License-Identifier: BSD-2-Clause
//! The layer wrap over a real TPM (libtpms), and over a peer that sends false
//! responses.

mod attacks;
mod commands;
mod exit;
mod keys;
mod lists;
mod mixed;
mod over_rm;
mod passwords;
mod program;
mod reference;
mod sessions;
mod tools;
mod tpm;
mod waiting;
