// SPDX-License-Identifier: BSD-2-Clause
//! The driver over the simulated chip. It works with every correct chip. With a broken
//! one it ends in time, with an error that says where, and never returns a wrong
//! response.

mod adapters;
mod any_registers;
mod counts;
mod faults;
mod helpers;
mod tpm2_tss;
mod variants;
