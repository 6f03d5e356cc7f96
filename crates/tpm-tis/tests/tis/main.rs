// SPDX-License-Identifier: BSD-2-Clause
//! The driver against the simulated chip: what chips may do works, what broken
//! ones do ends in time and in an error that says where, and no answer is wrong.

mod adapters;
mod any_registers;
mod counts;
mod faults;
mod helpers;
mod tpm2_tss;
mod variants;
