// SPDX-License-Identifier: BSD-2-Clause
//! An OpenSSL for the embedded TPM that is not the program's.
//!
//! A program may have set its OpenSSL up to take keys, and random numbers too,
//! from a TPM (tpm2-openssl). If that TPM is libtpms in the same process, which
//! computes with OpenSSL itself, each would wait for the other. So libtpms runs
//! with a library context (`OSSL_LIB_CTX`, OpenSSL 3) of our own as its thread's
//! default: plain, whatever the program or its openssl.cnf says.
//!
//! OpenSSL keeps state per thread and context until the thread ends, so that a
//! context can be freed only by the one thread that used it. Where there were
//! more, it is kept for the TPMs to come, until the process ends.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sync::{Mutex, MutexGuard};
use libloading::os::unix::{Library, RTLD_LAZY};

/// Loads nothing: only finds what is loaded.
const NOLOAD: i32 = libc::RTLD_NOLOAD;

type Context = *mut c_void;

/// The functions of libcrypto, and a library context of it.
#[derive(Debug)]
struct Isolated {
    context: Context,
    set_default: unsafe extern "C" fn(Context) -> Context,
    stop_thread: unsafe extern "C" fn(Context),
    free: unsafe extern "C" fn(Context),
    /// The thread that made it.
    maker: usize,
    /// Set once another thread used it and did not say good-bye.
    spread: AtomicBool,
    _library: Library,
}

// SAFETY: an OSSL_LIB_CTX is made to be used by several threads at once.
unsafe impl Send for Isolated {}
// SAFETY: as above.
unsafe impl Sync for Isolated {}

/// The one context of this copy of the library, and how many use it.
type Shared = (Option<Arc<Isolated>>, usize);
static SHARED: Mutex<Shared> = Mutex::new((None, 0));

/// `None` in a child that was forked while another thread of its parent held
/// the lock: for it there is no end of waiting.
fn shared() -> Option<MutexGuard<'static, Shared>> {
    for _ in 0..1000 {
        if let Some(shared) = SHARED.try_lock() {
            return Some(shared);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

thread_local! {
    /// Its address is the thread's identity; its value says that the thread is
    /// one of ours, which says good-bye ([`Lease::leave`]).
    static OURS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn this_thread() -> usize {
    OURS.with(|ours| ptr::from_ref(ours).addr())
}

/// The use of an OpenSSL of our own.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Isolated>);

impl Lease {
    /// `None` where libcrypto is not loaded or is older than 3: libtpms then
    /// uses the program's as it is.
    pub(crate) fn new() -> Option<Self> {
        let mut shared = shared()?;
        if shared.0.is_none() {
            shared.0 = Some(Arc::new(Isolated::new()?));
        }
        shared.1 += 1;
        shared.0.clone().map(Self)
    }

    /// Runs `call` with our context as this thread's default.
    #[inline]
    pub(crate) fn enter<T>(&self, call: impl FnOnce() -> T) -> T {
        /// Puts the program's back, also when the call panics.
        struct Restore<'a>(&'a Isolated, Context);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                // SAFETY: what the function returned on this thread before.
                unsafe { (self.0.set_default)(self.1) };
            }
        }

        let isolated = &*self.0;
        if isolated.maker != this_thread() && !OURS.get() {
            isolated.spread.store(true, Ordering::Relaxed);
        }
        // SAFETY: the context lives as long as `self`, and is this thread's
        // default only until `Restore` is dropped.
        let before = unsafe { (isolated.set_default)(isolated.context) };
        let _restore = Restore(isolated, before);
        call()
    }

    /// To be called first on a thread that calls [`leave`](Self::leave) last.
    pub(crate) fn join() {
        OURS.set(true);
    }

    /// Gives back what OpenSSL keeps for this thread.
    pub(crate) fn leave(&self) {
        // SAFETY: the context lives as long as `self`; this thread is in no call.
        unsafe { (self.0.stop_thread)(self.0.context) };
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut shared) = shared() else { return };
        shared.1 -= 1;
        let isolated = &*self.0;
        let only_ours = isolated.maker == this_thread() && !isolated.spread.load(Ordering::Relaxed);
        if shared.1 == 0 && only_ours {
            shared.0 = None;
            // SAFETY: nobody else uses it (the count, under its lock), and no
            // other thread has state in it.
            unsafe { (isolated.free)(isolated.context) };
        }
    }
}

impl Isolated {
    fn new() -> Option<Self> {
        // SAFETY: finds a library that libtpms loaded; the functions have these
        // signatures (OSSL_LIB_CTX(3), OPENSSL_thread_stop_ex(3)).
        unsafe {
            let library = Library::open(Some("libcrypto.so.3"), NOLOAD | RTLD_LAZY).ok()?;
            let new = *library
                .get::<unsafe extern "C" fn() -> Context>(b"OSSL_LIB_CTX_new\0")
                .ok()?;
            let set_default = *library.get(b"OSSL_LIB_CTX_set0_default\0").ok()?;
            let stop_thread = *library.get(b"OPENSSL_thread_stop_ex\0").ok()?;
            let free = *library.get(b"OSSL_LIB_CTX_free\0").ok()?;
            let context = new();
            (!context.is_null()).then(|| Self {
                context,
                set_default,
                stop_thread,
                free,
                maker: this_thread(),
                spread: AtomicBool::new(false),
                _library: library,
            })
        }
    }
}
