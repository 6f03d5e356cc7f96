// SPDX-License-Identifier: BSD-2-Clause
//! The transports swtpm and mssim, with real and with hostile peers.

mod costs;
mod events;
mod hostile;
mod hostile_stall;
mod mssim;
mod restart;
mod scene;
mod stream;
mod swtpm;
mod swtpm_mistakes;
mod swtpm_shared;
mod waits;

/// Counts allocations, for tests of calls that allocate nothing.
#[global_allocator]
static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
