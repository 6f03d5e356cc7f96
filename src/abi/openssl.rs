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
//! more, it is kept for the TPMs to come, until the process ends: in a table of
//! libcrypto's, where this library finds it again after it was unloaded.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::fork::{self, whole};
use crate::sync::Mutex;
use libloading::os::unix::{Library, RTLD_LAZY};

/// Loads nothing: only finds what is loaded.
const NOLOAD: i32 = libc::RTLD_NOLOAD;

type Context = *mut c_void;

/// The functions of libcrypto, and a library context of it.
#[derive(Debug)]
struct Isolated {
    context: Context,
    set_default: unsafe extern "C" fn(Context) -> Context,
    random: unsafe extern "C" fn(Context, *mut u8, usize, c_uint) -> c_int,
    stop_thread: unsafe extern "C" fn(Context),
    stop_all: unsafe extern "C" fn(),
    free: unsafe extern "C" fn(Context),
    table: Table,
    /// The thread that made it; 0, which is none, where it was found parked.
    maker: usize,
    /// Set once another thread used it and did not say good-bye.
    spread: AtomicBool,
    _library: Library,
}

// SAFETY: an OSSL_LIB_CTX is made to be used by several threads at once.
unsafe impl Send for Isolated {}
// SAFETY: as above.
unsafe impl Sync for Isolated {}

/// The one context of this copy of the library, how many use it, and in which
/// process. A child makes its own: another thread of the parent may have been
/// within the parent's, and hold its locks for ever.
struct Shared {
    isolated: Option<Arc<Isolated>>,
    users: usize,
    generation: u64,
}

/// Locked within [`whole`] only, so that no child finds it locked.
static SHARED: Mutex<Shared> = Mutex::new(Shared {
    isolated: None,
    users: 0,
    generation: 0,
});

fn with_shared<T>(change: impl FnOnce(&mut Shared) -> T) -> T {
    whole(|| {
        let mut shared = SHARED.lock();
        if shared.generation != fork::current() {
            // The parent's, which is not freed: what it holds is anybody's guess.
            std::mem::forget(shared.isolated.take());
            shared.users = 0;
            shared.generation = fork::current();
        }
        change(&mut shared)
    })
}

/// What is known of a thread. Its address is the thread's identity.
struct Thread {
    /// The thread is one of ours, which says good-bye ([`Lease::leave`]).
    ours: Cell<bool>,
    /// OpenSSL knows this thread.
    known: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            ours: Cell::new(false),
            known: Cell::new(false),
        }
    };
}

fn this_thread() -> usize {
    THREAD.with(|thread| ptr::from_ref(thread).addr())
}

/// The use of an OpenSSL of our own.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Isolated>);

impl Lease {
    /// `None` where libcrypto is not loaded or is older than 3: libtpms then
    /// uses the program's as it is.
    pub(crate) fn new() -> Option<Self> {
        with_shared(|shared| {
            if shared.isolated.is_none() {
                shared.isolated = Some(Arc::new(Isolated::new()?));
            }
            shared.users += 1;
            shared.isolated.clone().map(Self)
        })
    }

    /// Another use of the same.
    pub(crate) fn again(&self) -> Self {
        with_shared(|shared| {
            let known = shared.isolated.as_ref();
            if known.is_some_and(|known| Arc::ptr_eq(known, &self.0)) {
                shared.users += 1;
            }
        });
        Self(self.0.clone())
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
        let known = THREAD.with(|thread| {
            if isolated.maker != ptr::from_ref(thread).addr() && !thread.ours.get() {
                isolated.spread.store(true, Ordering::Relaxed);
            }
            thread.known.replace(true)
        });
        if !known {
            self.introduce();
        }
        // SAFETY: the context lives as long as `self`, and is this thread's
        // default only until `Restore` is dropped.
        let before = unsafe { (isolated.set_default)(isolated.context) };
        let _restore = Restore(isolated, before);
        call()
    }

    /// To be called first on a thread that calls [`leave`](Self::leave) last.
    pub(crate) fn join() {
        THREAD.with(|thread| thread.ours.set(true));
    }

    /// Gives back what OpenSSL keeps for this thread.
    pub(crate) fn leave(&self) {
        // SAFETY: the context lives as long as `self`; this thread is in no call.
        // The thread is ours, so that all that OpenSSL keeps for it may go; at
        // its end OpenSSL would take a lock of the whole process's to see to it.
        whole(|| unsafe {
            (self.0.stop_thread)(self.0.context);
            (self.0.stop_all)();
        });
    }

    /// Has OpenSSL enter this thread in its list, under a lock of the whole
    /// process's that a child must not find taken.
    #[cold]
    fn introduce(&self) {
        let mut byte = 0;
        // SAFETY: the context lives as long as `self`; one byte. Where there
        // are no random numbers, libtpms says so.
        whole(|| unsafe { (self.0.random)(self.0.context, &mut byte, 1, 0) });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        with_shared(|shared| {
            let isolated = &self.0;
            let known = shared.isolated.as_ref();
            if !known.is_some_and(|known| Arc::ptr_eq(known, isolated)) {
                return;
            }
            shared.users -= 1;
            if shared.users > 0 {
                return;
            }
            let only_ours =
                isolated.maker == this_thread() && !isolated.spread.load(Ordering::Relaxed);
            if only_ours {
                shared.isolated = None;
                // SAFETY: nobody else uses it (the count, under its lock), and no
                // other thread has state in it.
                unsafe { (isolated.free)(isolated.context) };
            } else if isolated.table.park(isolated.context) {
                shared.isolated = None;
            }
        });
    }
}

/// libcrypto's table of names (`OBJ_NAME_add` in its objects.h), which lives as
/// long as the process. Under a name of ours is a place for one context, which
/// every copy of this library finds.
#[derive(Debug)]
struct Table {
    add: unsafe extern "C" fn(*const c_char, c_int, *const c_char) -> c_int,
    get: unsafe extern "C" fn(*const c_char, c_int) -> *const c_char,
}

impl Table {
    const NAME: &CStr = c"rusttcti: OSSL_LIB_CTX";
    /// `OBJ_NAME_TYPE_COMP_METH`, of which OpenSSL itself has no names.
    const TYPE: c_int = 4;

    /// Leaves a context that nobody uses. False where one is there already.
    fn park(&self, context: Context) -> bool {
        let free = |place: &AtomicPtr<c_void>| {
            let none = ptr::null_mut();
            place
                .compare_exchange(none, context, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        self.place().or_else(|| self.make_place()).is_some_and(free)
    }

    /// Takes the context that was left, if there is one.
    fn take(&self) -> Option<Context> {
        let context = self.place()?.swap(ptr::null_mut(), Ordering::AcqRel);
        (!context.is_null()).then_some(context)
    }

    fn place(&self) -> Option<&'static AtomicPtr<c_void>> {
        // SAFETY: a C string; under it is nothing but what `make_place` put there.
        unsafe {
            (self.get)(Self::NAME.as_ptr(), Self::TYPE)
                .cast::<AtomicPtr<c_void>>()
                .as_ref()
        }
    }

    #[cold]
    fn make_place(&self) -> Option<&'static AtomicPtr<c_void>> {
        const SIZE: usize = 4096;
        let name = Self::NAME.to_bytes_with_nul();
        let at = size_of::<AtomicPtr<c_void>>();
        // SAFETY: never freed, because the table keeps the pointers and outlives
        // this library. A mapping is aligned for a pointer, begins as a NULL one,
        // and has room for the name behind. It is none of malloc's memory, so that
        // tools which look for leaks at exit, after OpenSSL has freed the table,
        // find the context.
        unsafe {
            let place = libc::mmap(
                ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if place == libc::MAP_FAILED {
                return None;
            }
            let copy = place.cast::<u8>().add(at);
            copy.copy_from_nonoverlapping(name.as_ptr(), name.len());
            (self.add)(copy.cast(), Self::TYPE, place.cast());
        }
        self.place()
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
            let random = *library.get(b"RAND_bytes_ex\0").ok()?;
            let stop_all = *library.get(b"OPENSSL_thread_stop\0").ok()?;
            let stop_thread = *library.get(b"OPENSSL_thread_stop_ex\0").ok()?;
            let free = *library.get(b"OSSL_LIB_CTX_free\0").ok()?;
            let table = Table {
                add: *library.get(b"OBJ_NAME_add\0").ok()?,
                get: *library.get(b"OBJ_NAME_get\0").ok()?,
            };
            let parked = table.take();
            let context = parked.unwrap_or_else(|| new());
            (!context.is_null()).then(|| Self {
                context,
                set_default,
                random,
                stop_thread,
                stop_all,
                free,
                table,
                maker: if parked.is_some() { 0 } else { this_thread() },
                spread: AtomicBool::new(false),
                _library: library,
            })
        }
    }
}
