// SPDX-License-Identifier: BSD-2-Clause
//! An allocator that counts, and that can refuse memory to workers of embedded
//! TPMs, for tests of calls that allocate nothing or find no memory.
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

/// The system's allocator, with a counter for each thread and one for all.
pub struct Counting;

thread_local! {
    // Const and without a destructor: reading it never allocates.
    static HERE: Cell<u64> = const { Cell::new(0) };
}
static EVERYWHERE: AtomicU64 = AtomicU64::new(0);
/// Whether workers of embedded TPMs get no memory.
static NOTHING_FOR_WORKERS: AtomicBool = AtomicBool::new(false);

/// Refuses all memory to the threads named "rusttcti", or gives it again.
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

// SAFETY: each function is the system allocator's own; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused() {
            return std::ptr::null_mut();
        }
        count();
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How many allocations (growing ones included) this thread makes in `run`.
pub fn on_this_thread(run: impl FnOnce()) -> u64 {
    assert_installed();
    let before = HERE.with(Cell::get);
    run();
    HERE.with(Cell::get) - before
}

/// How many allocations all threads of this process make during `run`: for a
/// test that is alone in its process, as under cargo-nextest.
pub fn on_all_threads(run: impl FnOnce()) -> u64 {
    assert_installed();
    let before = EVERYWHERE.load(Ordering::Relaxed);
    run();
    EVERYWHERE.load(Ordering::Relaxed) - before
}

/// A count of zero means nothing where nobody counts.
fn assert_installed() {
    let before = HERE.with(Cell::get);
    drop(std::hint::black_box(Box::new(1)));
    assert_ne!(
        HERE.with(Cell::get),
        before,
        "rusttcti_kit::alloc::Counting is not the global allocator"
    );
}
