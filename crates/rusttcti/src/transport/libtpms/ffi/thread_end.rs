// SPDX-License-Identifier: BSD-2-Clause
//! The end of a thread that has used an embedded TPM.
//!
//! OpenSSL keeps state for each thread. A destructor of OpenSSL (pthread_key_create(3))
//! frees it when the thread ends, and its clean-up at the end of the process frees the
//! state of all threads. For a thread that ends while the process ends, the state would
//! be freed twice, and the program would crash. So this library registers its own
//! destructor, which makes OpenSSL drop the thread's state. pthreads calls it first,
//! because its key is older, unless the program itself set up OpenSSL before. A thread
//! that this library started calls [`leave`] instead. Once the clean-up may have begun,
//! the thread waits.

use std::ffi::{c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::openssl::is_another_thread_ending;
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::exit::at_end;
use crate::sys::fork::without_fork;

/// `OPENSSL_thread_stop`.
pub(super) type StopThread = unsafe extern "C" fn();

/// How long a thread's end is delayed at most while the process ends.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The key whose value for a thread is its [`StopThread`]; none if all keys of the
/// process are taken.
static KEY: OnceLock<Option<c_uint>> = OnceLock::new();

/// How many threads are in a call that makes OpenSSL drop their state.
static STOPPING: AtomicUsize = AtomicUsize::new(0);
/// How many threads wait for the end of the process.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Whether OpenSSL's clean-up is over, or this library is being unloaded.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Makes the key. It is called before OpenSSL makes its key, if the program has not set
/// up OpenSSL already.
pub(super) fn prepare() {
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: `key` can be written to; the destructor stays until `forget_key`.
        let result = unsafe { libc::pthread_key_create(&raw mut key, Some(ended)) };
        at_end(forget_key);
        (result == 0).then_some(key)
    });
}

/// Makes OpenSSL drop this thread's state when the thread ends. It is called on a
/// program's thread.
pub(super) fn watch(stop_thread: StopThread) {
    if let Some(key) = KEY.get().copied().flatten() {
        // SAFETY: the key is there. Where there is no memory for the value, the
        // thread ends as it did without this.
        unsafe { libc::pthread_setspecific(key, stop_thread as *const c_void) };
    }
}

/// Waits for threads whose end began before the end of the process was announced.
pub(super) fn wait_for_the_ended(deadline: Deadline) {
    retry_until(deadline, || none_in(&STOPPING));
}

fn none_in(count: &AtomicUsize) -> Option<()> {
    (count.load(Ordering::SeqCst) == 0).then_some(())
}

/// A thread of the program's that used an embedded TPM ends.
extern "C" fn ended(stop_thread: *mut c_void) {
    // SAFETY: `watch` made the pointer of a `StopThread`. libcrypto is never unloaded
    // once it was used. The thread ends, so all that OpenSSL keeps for it may go.
    leave(|| unsafe { ptr::read((&raw const stop_thread).cast::<StopThread>())() });
}

/// Has OpenSSL forget this thread, by `stop`, which no fork interrupts. Once the
/// clean-up may have begun, this waits for its end instead. It is the last that the
/// thread does with OpenSSL.
pub(super) fn leave(stop: impl FnOnce()) {
    // Announce first, then check: `end` does so too, so one of the two always sees
    // the other.
    let is_stopped = without_fork(|| {
        STOPPING.fetch_add(1, Ordering::SeqCst);
        let may_stop = !is_another_thread_ending();
        if may_stop {
            stop();
        }
        STOPPING.fetch_sub(1, Ordering::SeqCst);
        may_stop
    });
    if !is_stopped {
        WAITING.fetch_add(1, Ordering::SeqCst);
        let deadline = Deadline::after(Some(LONGEST_WAIT));
        retry_until(deadline, || IS_OVER.load(Ordering::SeqCst).then_some(()));
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs last at the end of the process, and when this library is unloaded: threads that
/// end later must not call the destructor.
fn forget_key() {
    IS_OVER.store(true, Ordering::SeqCst);
    if let Some(key) = KEY.get().copied().flatten() {
        // SAFETY: `prepare` made the key, and nothing uses it any more.
        unsafe { libc::pthread_key_delete(key) };
    }
    let deadline = Deadline::after(Some(LONGEST_WAIT));
    retry_until(deadline, || none_in(&STOPPING).and(none_in(&WAITING)));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_end_of_the_process_waits_for_a_thread_that_is_leaving() {
        let (started, is_started) = channel();
        let (go, may_go) = channel();
        let thread = std::thread::spawn(move || {
            leave(|| {
                started.send(()).expect("heard");
                may_go.recv().expect("told to go");
            });
        });
        is_started.recv().expect("it leaves");
        let short = Duration::from_millis(20);
        wait_for_the_ended(Deadline::after(Some(short)));
        assert_eq!(STOPPING.load(Ordering::SeqCst), 1, "it is still at it");
        go.send(()).expect("heard");
        wait_for_the_ended(Deadline::Never);
        assert_eq!(STOPPING.load(Ordering::SeqCst), 0);
        thread.join().expect("no panic");
    }
}
