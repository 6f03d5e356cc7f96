// SPDX-License-Identifier: BSD-2-Clause
//! The C boundary: contexts, the loader, ESYS, the log.

mod alloc;
mod auto_traits;
mod c_programs;
mod chain_sigpipe;
mod conformance;
mod context;
mod esys;
mod esys_async;
mod habits;
mod layout;
mod ldr;
mod limits;
mod log;
mod log_open;
mod pytcti;
mod two_modules;

/// Counts allocations, for tests of calls that allocate nothing.
#[global_allocator]
static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
