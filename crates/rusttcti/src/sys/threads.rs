// SPDX-License-Identifier: BSD-2-Clause
//! Threads of this library. They block all signals, so no signal handler of the program
//! runs on them. Only signals for a fault of the thread itself are not blocked:
//! otherwise neither the program's crash handler nor the kernel's log would report a
//! crash.
//!
//! std's threads are not used: making one registers a destructor with the calling
//! thread, and this library could not be unloaded as long as that thread lives.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// The signals that a thread's own instructions cause.
const FAULTS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

type Work = Box<dyn FnOnce() + Send>;

/// A running thread. Dropping this waits for its end.
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// Runs `work` on a thread of its own with a stack of `stack` bytes, all
    /// signals blocked but those of a fault ([`FAULTS`]).
    ///
    /// The new thread inherits the calling thread's signal mask. So that no
    /// signal can come before it blocks them itself, the caller's are blocked
    /// while it is made, and are as before when this returns; a signal that
    /// comes in between is delivered then.
    ///
    /// # Errors
    /// The system's, if it has no thread or no memory left.
    pub(crate) fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: each function initialises what its place is for before the
        // next one reads it; `run` takes `work` over if the thread is made.
        let errno = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack);
            libc::sigfillset(blocked.as_mut_ptr());
            for fault in FAULTS {
                libc::sigdelset(blocked.as_mut_ptr(), fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), mask.as_mut_ptr());
            let errno =
                libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, work.cast());
            libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            errno
        };
        if errno != 0 {
            // SAFETY: no thread took it over.
            drop(unsafe { Box::from_raw(work) });
            return Err(io::Error::from_raw_os_error(errno));
        }
        // SAFETY: pthread_create succeeded.
        Ok(Self(unsafe { thread.assume_init() }))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: a thread that was made, is not detached, and is joined once.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }
}

extern "C" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: from `Box::into_raw` in `spawn`, and taken over once.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // SAFETY: a C string, for top(1) and debuggers to show.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"rusttcti".as_ptr()) };
    // A panic ends here; its message was printed.
    let _ = catch_unwind(AssertUnwindSafe(work));
    ptr::null_mut()
}
