// SPDX-License-Identifier: BSD-2-Clause
//! Transports: the ways to a TPM, one a module. [`open`](crate::open) makes
//! them from a string, and [`Module::init`](crate::Module::init) from their CONF.

mod assembly;
pub mod cmd;
pub mod device;
pub mod libtpms;
pub mod mssim;
pub mod null;
mod own;
mod socket;
pub mod swtpm;
