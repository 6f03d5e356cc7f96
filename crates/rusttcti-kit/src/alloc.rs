// SPDX-License-Identifier: BSD-2-Clause
//! A counting allocator, which can also refuse memory to the workers of embedded TPMs.
//! It is for tests of calls that must not allocate, or that run out of memory.
//!
//! A test program installs it once:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: rusttcti_kit::alloc::Counting = rusttcti_kit::alloc::Counting;
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, with a counter for each thread and one for all threads.
pub struct Counting;

thread_local! {
    // It is const and has no destructor, so reading it never allocates.
    static HERE: Cell<u64> = const { Cell::new(0) };
}
static EVERYWHERE: AtomicU64 = AtomicU64::new(0);
/// Whether workers of embedded TPMs get no memory.
static NOTHING_FOR_WORKERS: AtomicBool = AtomicBool::new(false);

/// Refuses all memory to the threads named "rusttcti", or allows it again.
pub fn refuse_to_workers(refuse: bool) {
    NOTHING_FOR_WORKERS.store(refuse, Ordering::SeqCst);
}

fn is_refused() -> bool {
    if !NOTHING_FOR_WORKERS.load(Ordering::SeqCst) {
        return false;
    }
    let mut name = [0_u8; 16];
    // SAFETY: it writes 16 bytes, the closing NUL included.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name.starts_with(b"rusttcti\0")
}

fn count() {
    HERE.with(|here| here.set(here.get() + 1));
    EVERYWHERE.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: each function calls the system allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller has the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller has the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller has the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller has the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Returns how many allocations this thread makes in `run`, including those that grow.
pub fn on_this_thread(run: impl FnOnce()) -> u64 {
    assert_installed();
    let before = HERE.with(Cell::get);
    run();
    HERE.with(Cell::get) - before
}

/// Returns how many allocations all threads of this process make during `run`. The test
/// must be alone in its process, as under cargo-nextest.
pub fn on_all_threads(run: impl FnOnce()) -> u64 {
    assert_installed();
    let before = EVERYWHERE.load(Ordering::Relaxed);
    run();
    EVERYWHERE.load(Ordering::Relaxed) - before
}

/// Panics if the counting allocator is not installed: a count of zero would mean
/// nothing then.
fn assert_installed() {
    let before = HERE.with(Cell::get);
    drop(std::hint::black_box(Box::new(1)));
    assert_ne!(
        HERE.with(Cell::get),
        before,
        "rusttcti_kit::alloc::Counting is not the global allocator"
    );
}
