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
mod layout;
mod limits;
mod log;
mod log_open;
mod pytcti;
mod tctildr;
mod two_modules;
mod unusual_programs;

/// Counts allocations, for tests of calls that allocate nothing.
#[global_allocator]
static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
