// SPDX-License-Identifier: BSD-2-Clause
//! Signals that interrupt every blocking system call.

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;
use std::time::Duration;

/// A running storm of signals, ended when this is dropped.
pub struct Storm<'a>(&'a AtomicBool);

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends SIGUSR1, handled without SA_RESTART, to the calling thread about every 50
/// microseconds, until the returned value is dropped.
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
            // SAFETY: the scope ends only after the thread that made it has left it, so
            // the target thread is alive.
            unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    Storm(done)
}

/// A timer that sends SIGALRM, handled without SA_RESTART, to the calling thread a
/// thousand times a second, until this is dropped.
pub struct Alarms(libc::timer_t);

static ALARMS: AtomicUsize = AtomicUsize::new(0);

impl Alarms {
    /// Starts the timer for the calling thread.
    pub fn on_this_thread() -> Self {
        extern "C" fn count(_: libc::c_int) {
            ALARMS.fetch_add(1, Ordering::Relaxed);
        }
        let millisecond = libc::timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let interval = libc::itimerspec {
            it_interval: millisecond,
            it_value: millisecond,
        };
        let mut timer = ptr::null_mut();
        // SAFETY: the handler uses only an atomic; zeroed structs are valid, and the
        // timer is valid once it was made.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &action, ptr::null_mut()), 0);
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            assert_eq!(
                libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer),
                0
            );
            assert_eq!(libc::timer_settime(timer, 0, &interval, ptr::null_mut()), 0);
        }
        Self(timer)
    }

    /// Returns how many signals have come so far.
    pub fn count() -> usize {
        ALARMS.load(Ordering::Relaxed)
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        // SAFETY: the timer was made, and is deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}
