// SPDX-License-Identifier: BSD-2-Clause
//! The embedded TPM's worker where there is no memory for it: a thread has none
//! of its own before it has asked for some.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

mod common;

use common::commands::response_code;
use common::tpm::create_primary_ecc;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, Tcti};

/// The system's allocator, which has nothing for a worker while this is set.
static NOTHING: AtomicBool = AtomicBool::new(false);

struct Stingy;

fn refuses() -> bool {
    if !NOTHING.load(Ordering::SeqCst) {
        return false;
    }
    let mut name = [0_u8; 16];
    // SAFETY: it writes 16 bytes, the closing NUL included.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"rusttcti\0")
}

// SAFETY: each function is the system allocator's own, or has nothing.
unsafe impl GlobalAlloc for Stingy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match refuses() {
            true => std::ptr::null_mut(),
            // SAFETY: the caller's contract is the same.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Stingy = Stingy;

fn exchange(tpm: &mut Libtpms, command: &[u8]) -> rusttcti::Result<Vec<u8>> {
    tpm.transmit(command)?;
    let mut response = vec![0; 4096];
    let size = tpm.receive(&mut response, None)?;
    response.truncate(size);
    Ok(response)
}

#[test]
fn a_worker_without_memory_fails_the_command_and_ends_no_program() {
    let mut tpm = Libtpms::builder().open().expect("a TPM");
    NOTHING.store(true, Ordering::SeqCst);
    let error = exchange(&mut tpm, &create_primary_ecc()).expect_err("no place for it");
    assert_eq!(error.kind(), ErrorKind::Memory, "{}", error.report());
    NOTHING.store(false, Ordering::SeqCst);
    let response = exchange(&mut tpm, &create_primary_ecc()).expect("a key");
    assert_eq!(response_code(&response), 0);
    // What it needs of memory, it has by now.
    NOTHING.store(true, Ordering::SeqCst);
    let response = exchange(&mut tpm, &create_primary_ecc()).expect("another");
    assert_eq!(response_code(&response), 0);
    NOTHING.store(false, Ordering::SeqCst);
}
