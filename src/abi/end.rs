// SPDX-License-Identifier: BSD-2-Clause
//! What is left to do when the process ends by exit(3), or this library is
//! unloaded.

use std::sync::atomic::{AtomicPtr, Ordering};

use super::panic::guarded;

/// A `fn()`, or null.
type Work = AtomicPtr<()>;

static BEFORE: Work = AtomicPtr::new(std::ptr::null_mut());
static LAST: Work = AtomicPtr::new(std::ptr::null_mut());

/// Has `work` called early: before whatever was registered with atexit(3) until
/// now. There is one such function in all.
pub(crate) fn before_end(work: fn()) {
    if BEFORE.swap(work as *mut (), Ordering::AcqRel).is_null() {
        // SAFETY: a function without arguments. The registration ends with this
        // library, whose unloading calls it, so that no pointer ever dangles.
        unsafe { libc::atexit(before) };
    }
}

/// Has `work` called last of all: what a program registered with atexit(3), and
/// the destructors of its C++ objects, may talk to a TPM until then. There is
/// one such function in all.
pub(crate) fn at_end(work: fn()) {
    LAST.store(work as *mut (), Ordering::Release);
}

extern "C" fn before() {
    call(&BEFORE);
}

extern "C" fn last() {
    call(&LAST);
}

fn call(work: &Work) {
    let work = work.load(Ordering::Acquire);
    if !work.is_null() {
        // SAFETY: not null, so made from a `fn()`, which is as large as a pointer.
        let work = unsafe { std::mem::transmute::<*mut (), fn()>(work) };
        let _ = guarded(|| {
            work();
            Ok(())
        });
    }
}

// SAFETY: the section is an array of functions, which the loader calls at the
// end; `#[used]` keeps this one in it.
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = last;
