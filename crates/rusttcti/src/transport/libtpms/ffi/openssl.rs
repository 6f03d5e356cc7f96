// SPDX-License-Identifier: BSD-2-Clause
//! A separate OpenSSL library context for embedded TPMs.
//!
//! A program may have set up its OpenSSL to take keys and random numbers from a TPM
//! (tpm2-openssl). If that TPM is libtpms in the same process, libtpms itself computes
//! with OpenSSL, and each would wait for the other. So libtpms runs with its own
//! library context (`OSSL_LIB_CTX`, OpenSSL 3) as the thread's default. The program's
//! settings and openssl.cnf do not apply to it.
//!
//! Making a context takes as long as all other steps of opening a TPM, so it is kept
//! for later TPMs. OpenSSL keeps state for each thread and context until the thread
//! ends. So only a thread that alone has used the context can free it, and does so when
//! it unloads this library. If several threads have used the context, this library
//! stays loaded until the process ends, because it holds the context's pointer.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_LAZY};

use super::load::keep_loaded;
use super::thread_end::{self, StopThread};
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::exit::before_end;
use crate::sys::fork::{Generation, without_fork};
use crate::sys::locks::Mutex;
use crate::{Error, ErrorKind, Result};

type RawContext = *mut c_void;

/// A library context, and libcrypto's functions that take one.
#[derive(Debug)]
struct LibraryContext {
    context: RawContext,
    set_default: unsafe extern "C" fn(RawContext) -> RawContext,
    random: unsafe extern "C" fn(RawContext, *mut u8, usize, c_uint) -> c_int,
    stop_thread: unsafe extern "C" fn(RawContext),
    stop_all: StopThread,
    free: unsafe extern "C" fn(RawContext),
    /// The thread that made it.
    maker: usize,
    /// Whether OpenSSL may keep state in it for another thread.
    is_shared: AtomicBool,
    library: Library,
}

// SAFETY: an OSSL_LIB_CTX is made to be used by several threads at once.
unsafe impl Send for LibraryContext {}
// SAFETY: as above.
unsafe impl Sync for LibraryContext {}

/// The only context of this library, its users, and their process. A forked child makes
/// a new one: another thread of the parent may have been in a call with the parent's
/// context, and its locks would be held for ever.
struct CurrentContext {
    context: Option<Arc<LibraryContext>>,
    callers: Vec<Arc<Caller>>,
    generation: Option<Generation>,
}

/// The thread in [`ContextGuard::enter`]; 0 for none.
type Caller = AtomicUsize;

/// The thread that ends the process, or unloads this library; 0 for none. OpenSSL
/// cleans up soon after, and a call from another thread would crash. So no other thread
/// makes a call from then on, and nothing is freed.
static ENDER: AtomicUsize = AtomicUsize::new(0);

/// How long the end is delayed for threads in a call.
const LONGEST_END: Duration = Duration::from_secs(1);

pub(super) fn is_another_thread_ending() -> bool {
    let ender = ENDER.load(Ordering::SeqCst);
    ender != 0 && ender != this_thread()
}

/// Locked only within [`without_fork`], so that no child finds it locked.
static CURRENT: Mutex<CurrentContext> = Mutex::new(CurrentContext {
    context: None,
    callers: Vec::new(),
    generation: None,
});

fn with_current_context<T>(change: impl FnOnce(&mut CurrentContext) -> T) -> T {
    without_fork(|| {
        let mut shared = CURRENT.lock();
        let generation = Some(Generation::current());
        if shared.generation != generation {
            // The parent's context is not freed: it may be in any state.
            std::mem::forget(shared.context.take());
            shared.callers.clear();
            shared.generation = generation;
        }
        change(&mut shared)
    })
}

impl CurrentContext {
    fn is_in_use(&self, context: &Arc<LibraryContext>) -> bool {
        let current = self.context.as_ref();
        current.is_some_and(|current| Arc::ptr_eq(current, context))
    }
}

/// The record of a thread. Its address is the thread's identity.
struct Thread {
    /// Whether this is one of our threads, which end with [`ContextGuard::leave`].
    is_ours: Cell<bool>,
    /// Whether OpenSSL knows this thread.
    is_known: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            is_ours: Cell::new(false),
            is_known: Cell::new(false),
        }
    };
}

fn this_thread() -> usize {
    THREAD.with(|thread| ptr::from_ref(thread).addr())
}

/// A use of the library context.
#[derive(Debug)]
pub(crate) struct ContextGuard {
    context: Arc<LibraryContext>,
    caller: Arc<Caller>,
}

impl ContextGuard {
    /// Returns `None` if libcrypto is not loaded or is older than 3: libtpms then uses
    /// the program's OpenSSL.
    ///
    /// # Errors
    /// [`ErrorKind::GeneralFailure`] while another thread ends the process.
    pub(crate) fn new() -> Result<Option<Self>> {
        with_current_context(|shared| {
            if is_another_thread_ending() {
                return Err(Error::new(
                    ErrorKind::GeneralFailure,
                    "this process is ending, and OpenSSL cannot be used any more",
                ));
            }
            if shared.context.is_none() {
                shared.context = LibraryContext::new().map(Arc::new);
            }
            Ok(shared.context.clone().map(|context| {
                let caller = Arc::<Caller>::default();
                shared.callers.push(caller.clone());
                Self { context, caller }
            }))
        })
    }

    /// Returns another use of this context, for another thread.
    pub(crate) fn again(&self) -> Self {
        let caller = Arc::<Caller>::default();
        with_current_context(|shared| {
            if shared.is_in_use(&self.context) {
                shared.callers.push(caller.clone());
            }
        });
        Self {
            context: self.context.clone(),
            caller,
        }
    }

    /// Runs `call` with our context as this thread's default. One thread at a time may
    /// do so. Returns `None`, without a call, while another thread ends the process.
    #[inline(always)]
    pub(crate) fn enter<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        /// Restores the program's context, also if the call panics.
        struct Restore<'a>(&'a LibraryContext, RawContext);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                // SAFETY: what the function returned on this thread before.
                unsafe { (self.0.set_default)(self.1) };
            }
        }

        /// Wakes a thread that waits in `end`: this one has left.
        struct Leave<'a>(&'a Caller);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Release);
            }
        }

        // Announce first, then check: `end` does so too, so one of the two always
        // sees the other.
        let context = &*self.context;
        let is_known = THREAD.with(|thread| {
            let this = ptr::from_ref(thread).addr();
            self.caller.swap(this, Ordering::SeqCst);
            if context.maker != this && !thread.is_ours.get() {
                context.is_shared.store(true, Ordering::Relaxed);
            }
            thread.is_known.replace(true)
        });
        let _leave = Leave(&self.caller);
        if is_another_thread_ending() {
            return None;
        }
        if !is_known {
            self.introduce();
        }
        // SAFETY: the context lives as long as `self`, and is this thread's
        // default only until `Restore` is dropped.
        let before = unsafe { (context.set_default)(context.context) };
        let _restore = Restore(context, before);
        Some(call())
    }

    /// Marks this thread as one of ours. It is called first on a thread that calls
    /// [`leave`](Self::leave) last.
    pub(crate) fn join() {
        THREAD.with(|thread| thread.is_ours.set(true));
    }

    /// Frees the state that OpenSSL keeps for this thread, which this library started
    /// and which ends now.
    pub(crate) fn leave(&self) {
        // SAFETY: the context lives as long as `self`; this thread is in no call. This
        // library started the thread, so all state that OpenSSL keeps for it can be
        // freed. At the thread's end OpenSSL would free it under a lock of the whole
        // process.
        thread_end::leave(|| unsafe {
            (self.context.stop_thread)(self.context.context);
            (self.context.stop_all)();
        });
    }

    /// Makes OpenSSL enter this thread in its list. OpenSSL takes a lock of the whole
    /// process for that, which a forked child must not find taken.
    #[cold]
    fn introduce(&self) {
        let context = &self.context;
        let mut byte = 0;
        // SAFETY: the context lives as long as `self`; one byte. Where there
        // are no random numbers, libtpms says so.
        without_fork(|| unsafe { (context.random)(context.context, &mut byte, 1, 0) });
        if !THREAD.with(|thread| thread.is_ours.get()) {
            thread_end::watch(context.stop_all);
        }
        // OpenSSL is set up now, so its clean-up runs after this function.
        before_end(end);
    }
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        let cannot_be_freed = with_current_context(|shared| {
            if !shared.is_in_use(&self.context) {
                return false;
            }
            shared
                .callers
                .retain(|caller| !Arc::ptr_eq(caller, &self.caller));
            if !shared.callers.is_empty() {
                return false;
            }
            shared.callers = Vec::new();
            !self.context.is_this_thread_s()
        });
        if cannot_be_freed {
            keep_loaded();
        }
    }
}

/// Keeps threads out of OpenSSL from now on, and waits for those that are in a call. It
/// runs at the end of the process, before OpenSSL's clean-up; long commands were ended
/// before.
fn end() {
    let deadline = Deadline::after(Some(LONGEST_END));
    let announce = || {
        let shared = CURRENT.try_lock()?;
        ENDER.store(this_thread(), Ordering::SeqCst);
        Some(shared.callers.clone())
    };
    let announced = retry_until(deadline, || without_fork(announce));
    if announced.as_ref().is_some_and(Vec::is_empty) {
        with_current_context(free_context);
    }
    let callers = announced.unwrap_or_default();
    // A signal handler that exits may have interrupted a call of this same thread.
    let is_out = |thread| thread == 0 || thread == this_thread();
    for caller in callers {
        retry_until(deadline, || {
            is_out(caller.load(Ordering::SeqCst)).then_some(())
        });
    }
    thread_end::wait_for_the_ended(deadline);
}

/// Frees the context that no TPM uses, if this thread may.
fn free_context(shared: &mut CurrentContext) {
    if let Some(context) = shared.context.take_if(|context| context.is_this_thread_s()) {
        // SAFETY: nothing uses it (`callers` was empty, and `ENDER` is set since),
        // and no other thread has state in it.
        unsafe { (context.free)(context.context) };
        // libcrypto stays loaded in any case, and the loader is unloading this library.
        if let Some(context) = Arc::into_inner(context) {
            std::mem::forget(context.library);
        }
    }
}

impl LibraryContext {
    /// Returns whether only this thread has used the context.
    fn is_this_thread_s(&self) -> bool {
        self.maker == this_thread() && !self.is_shared.load(Ordering::Relaxed)
    }

    fn new() -> Option<Self> {
        // SAFETY: finds a library that libtpms loaded; the functions have these
        // signatures (OSSL_LIB_CTX(3), OPENSSL_thread_stop_ex(3)).
        unsafe {
            let flags = libc::RTLD_NOLOAD | RTLD_LAZY;
            let library = Library::open(Some("libcrypto.so.3"), flags).ok()?;
            let new = *library
                .get::<unsafe extern "C" fn() -> RawContext>(b"OSSL_LIB_CTX_new\0")
                .ok()?;
            let set_default = *library.get(b"OSSL_LIB_CTX_set0_default\0").ok()?;
            let random = *library.get(b"RAND_bytes_ex\0").ok()?;
            let stop_all = *library.get(b"OPENSSL_thread_stop\0").ok()?;
            let stop_thread = *library.get(b"OPENSSL_thread_stop_ex\0").ok()?;
            let free = *library.get(b"OSSL_LIB_CTX_free\0").ok()?;
            thread_end::prepare();
            let context = new();
            (!context.is_null()).then(|| Self {
                context,
                set_default,
                random,
                stop_thread,
                stop_all,
                free,
                maker: this_thread(),
                is_shared: AtomicBool::new(false),
                library,
            })
        }
    }
}
