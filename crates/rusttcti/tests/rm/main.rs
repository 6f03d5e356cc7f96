// SPDX-License-Identifier: BSD-2-Clause
//! The layer rm over real TPMs.

mod cost;
mod exit;
mod fork;
mod guest;
mod model;
mod objects;
mod one_process;
mod shared;
mod tpm;

#[global_allocator]
static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
