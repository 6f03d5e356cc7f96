// SPDX-License-Identifier: BSD-2-Clause
//! What is left to do when the process ends by exit(3), or this library is
//! unloaded.

use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use crate::sys::panic::guarded;

/// A `fn()`, or null.
type Work = AtomicPtr<()>;

/// As many as there are callers of [`before_end`].
static BEFORE: [Work; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];
static LAST: Work = AtomicPtr::new(std::ptr::null_mut());

/// Has `work` called early: before whatever was registered with atexit(3) until
/// now, and before earlier ones of these. Once is enough for each function.
pub(crate) fn before_end(work: fn()) {
    let work = work as *mut ();
    for slot in &BEFORE {
        let none = std::ptr::null_mut();
        match slot.compare_exchange(none, work, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: a function without arguments. The registration ends with
                // this library, whose unloading calls it, so that no pointer ever
                // dangles.
                unsafe { libc::atexit(before) };
                return;
            }
            Err(known) if known == work => return,
            Err(_) => {}
        }
    }
    debug_assert!(false, "there is room for two");
}

/// Has `work` called last of all: what a program registered with atexit(3), and
/// the destructors of its C++ objects, may talk to a TPM until then. There is
/// one such function in all.
pub(crate) fn at_end(work: fn()) {
    LAST.store(work as *mut (), Ordering::Release);
}

/// Called once for each function, the last one's turn being first.
extern "C" fn before() {
    let taken = |slot: &Work| slot.swap(std::ptr::null_mut(), Ordering::AcqRel);
    let works = BEFORE.iter().rev().map(taken);
    works.filter(|work| !work.is_null()).take(1).for_each(call);
}

extern "C" fn last() {
    call(LAST.load(Ordering::Acquire));
}

fn call(work: *mut ()) {
    if !work.is_null() {
        // SAFETY: not null, so made from a `fn()`, which is as large as a pointer.
        let work = unsafe { std::mem::transmute::<*mut (), fn()>(work) };
        let _ = guarded(|| {
            work();
            Ok(())
        });
    }
}

/// Tries until the deadline.
pub(crate) fn patiently<T>(deadline: Instant, attempt: impl Fn() -> Option<T>) -> Option<T> {
    loop {
        let result = attempt();
        if result.is_some() || Instant::now() >= deadline {
            return result;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

// SAFETY: the section is an array of functions, which the loader calls at the
// end; `#[used]` keeps this one in it.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = last;
