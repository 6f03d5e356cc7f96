// SPDX-License-Identifier: BSD-2-Clause
//! Signals that interrupt every system call that waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;

/// Ends the storm when it goes.
pub struct Storm<'a>(&'a AtomicBool);

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends SIGUSR1, handled without SA_RESTART, to the calling thread every 50
/// microseconds or so, until the value returned goes.
pub fn storm_on_this_thread<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    done: &'env AtomicBool,
) -> Storm<'env> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, and a sigaction of zeros is a valid one.
    let target = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
        libc::pthread_self() as usize
    };
    scope.spawn(move || {
        while !done.load(Ordering::Relaxed) {
            // SAFETY: the scope ends only after the thread that it was made on
            // has left it, so that the target lives.
            unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    Storm(done)
}
