// SPDX-License-Identifier: BSD-2-Clause
//! Runs functions when the process ends by exit(3), or this library is unloaded.

use std::sync::atomic::{AtomicPtr, Ordering};

use crate::sys::panic::guarded;

/// A `fn()`, or null.
type Work = AtomicPtr<()>;

/// The functions for [`before_end`]: one entry for each caller.
static BEFORE: [Work; 3] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 3];
/// The functions for [`at_end`]: one entry for each caller.
static LAST: [Work; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Calls `work` early at the end of the process: before all functions that were
/// registered with atexit(3) until now, including earlier ones of this kind. Later
/// calls for the same function do nothing.
pub(crate) fn before_end(work: fn()) {
    if enter(&BEFORE, work) {
        // SAFETY: a function without arguments. Unloading this library calls it and
        // ends the registration, so the pointer never dangles.
        unsafe { libc::atexit(before) };
    }
}

/// Calls `work` at the very end of the process, because the program's atexit(3)
/// functions and the destructors of its C++ objects may still use a TPM. Later calls
/// for the same function do nothing.
pub(crate) fn at_end(work: fn()) {
    enter(&LAST, work);
}

/// Enters a function in the first free slot. Returns false if it is there already.
fn enter(slots: &[Work], work: fn()) -> bool {
    let work = work as *mut ();
    for slot in slots {
        let none = std::ptr::null_mut();
        match slot.compare_exchange(none, work, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return true,
            Err(known) if known == work => return false,
            Err(_) => {}
        }
    }
    debug_assert!(false, "there is room for all");
    false
}

/// Calls the function that was registered last and has not been called. atexit(3)
/// has this once for each function.
extern "C" fn before() {
    let taken = |slot: &Work| slot.swap(std::ptr::null_mut(), Ordering::AcqRel);
    let works = BEFORE.iter().rev().map(taken);
    works.filter(|work| !work.is_null()).take(1).for_each(call);
}

extern "C" fn last() {
    for slot in &LAST {
        call(slot.load(Ordering::Acquire));
    }
}

fn call(work: *mut ()) {
    if !work.is_null() {
        // SAFETY: it is not null, so it was made from a `fn()`, of a pointer's size.
        let work = unsafe { std::mem::transmute::<*mut (), fn()>(work) };
        let _ = guarded(|| {
            work();
            Ok(())
        });
    }
}

// SAFETY: the section is an array of functions that the loader calls at the end;
// `#[used]` keeps this one in it.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = last;
