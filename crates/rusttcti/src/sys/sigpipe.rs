// SPDX-License-Identifier: BSD-2-Clause
//! Blocks SIGPIPE during a call that may write to a pipe without a reader. The signal's
//! disposition never changes, and the thread's mask is restored afterwards.

use std::mem::MaybeUninit;
use std::ptr;

/// Runs `call`, which may write to a pipe that has no reader: a system call, or
/// third-party code. A SIGPIPE that it raises is discarded.
pub(crate) fn shielded<T>(call: impl FnOnce() -> T) -> T {
    let blocked = Blocked::new();
    let result = call();
    blocked.take_back();
    result
}

/// Runs `call`, [`shielded`] only where that `is_needed`.
#[inline]
pub(crate) fn shielded_if<T>(is_needed: bool, call: impl FnOnce() -> T) -> T {
    match is_needed {
        true => shielded(call),
        false => call(),
    }
}

/// SIGPIPE blocked on this thread, until this is dropped.
struct Blocked {
    sigpipe: libc::sigset_t,
    /// The thread's mask before.
    before: libc::sigset_t,
    /// Whether one was pending before: it belongs to the program, and stays.
    was_pending: bool,
}

impl Blocked {
    fn new() -> Self {
        let mut sigpipe = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: each set is written by the call that gets its pointer first,
        // and none of these can fail with the arguments given.
        unsafe {
            libc::sigemptyset(sigpipe.as_mut_ptr());
            libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
            let sigpipe = sigpipe.assume_init();
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, before.as_mut_ptr());
            let before = before.assume_init();
            Self {
                sigpipe,
                before,
                was_pending: has_sigpipe(&before) && is_pending(),
            }
        }
    }

    /// Discards the signal of a failed write, if one is pending.
    fn take_back(&self) {
        if self.was_pending {
            return;
        }
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a set and a time of ours; NULL asks for no details.
        while unsafe { libc::sigtimedwait(&self.sigpipe, ptr::null_mut(), &at_once) } == -1
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
        {}
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}

fn has_sigpipe(set: &libc::sigset_t) -> bool {
    // SAFETY: a set that was filled in.
    unsafe { libc::sigismember(set, libc::SIGPIPE) == 1 }
}

fn is_pending() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set in, whatever sigpending does.
    let pending = unsafe {
        libc::sigemptyset(pending.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        pending.assume_init()
    };
    has_sigpipe(&pending)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn mask_has_sigpipe() -> bool {
        let mut now = MaybeUninit::uninit();
        // SAFETY: NULL changes nothing and fills the old mask in.
        let now = unsafe {
            libc::sigemptyset(now.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr());
            now.assume_init()
        };
        has_sigpipe(&now)
    }

    fn write_to_nobody() -> rustix::io::Result<usize> {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        shielded(|| rustix::io::write(&writer, b"x"))
    }

    /// One test, because the disposition is the whole process's.
    #[test]
    fn a_broken_pipe_is_an_error_and_no_signal_and_leaves_the_mask_as_it_was() {
        // SAFETY: the default disposition, which a C program has; put back below.
        let rusts = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        for _ in 0..3 {
            assert_eq!(write_to_nobody(), Err(Errno::PIPE));
            assert!(!mask_has_sigpipe());
            assert!(!is_pending());
        }

        // A SIGPIPE that was pending before the call is still pending after it.
        let blocked = Blocked::new();
        // SAFETY: a signal to this thread, which blocks it.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGPIPE) };
        assert!(is_pending());
        assert_eq!(write_to_nobody(), Err(Errno::PIPE));
        assert!(mask_has_sigpipe());
        assert!(is_pending());
        blocked.take_back();
        assert!(!is_pending());
        drop(blocked);
        // SAFETY: as it was.
        unsafe { libc::signal(libc::SIGPIPE, rusts) };
    }
}
