// SPDX-License-Identifier: BSD-2-Clause
//! Embedded TPMs.

mod copies;
mod disk;
mod fork;
mod in_tests;
mod long;
mod many;
mod memory;
mod names;
mod no_memory;
mod nonblocking;
mod openssl;
mod process;
mod shared;
mod state;
mod swtpm_state;
mod unfinalized;
mod unload;
mod waits;

/// Counts allocations, for tests of calls that allocate nothing.
#[global_allocator]
static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
