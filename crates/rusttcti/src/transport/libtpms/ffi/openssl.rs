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
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::sys::exit::{before_end, patiently};
use crate::sys::fork::{self, whole};
use crate::sys::locks::Mutex;
use crate::{Error, ErrorKind, Result};
use libloading::os::unix::{Library, RTLD_LAZY};

/// Loads nothing: only finds what is loaded.
const NOLOAD: i32 = libc::RTLD_NOLOAD;

type Context = *mut c_void;

/// A place for one context.
type Place = AtomicPtr<c_void>;

/// The functions of libcrypto, and a library context of it.
#[derive(Debug)]
struct Isolated {
    context: Context,
    set_default: unsafe extern "C" fn(Context) -> Context,
    random: unsafe extern "C" fn(Context, *mut u8, usize, c_uint) -> c_int,
    stop_thread: unsafe extern "C" fn(Context),
    stop_all: unsafe extern "C" fn(),
    free: unsafe extern "C" fn(Context),
    /// Where it is kept when nobody uses it.
    place: Option<&'static Place>,
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

/// The one context of this copy of the library, who uses it, and in which
/// process. A child makes its own: another thread of the parent may have been
/// within the parent's, and hold its locks for ever.
struct Shared {
    isolated: Option<Arc<Isolated>>,
    users: Vec<Arc<Busy>>,
    generation: u64,
}

/// The thread that is within [`Lease::enter`]; else 0.
type Busy = AtomicUsize;

/// The thread that ends the process, or unloads this library; else 0. Soon
/// OpenSSL has cleaned up, and a call of another thread's would crash. So none is
/// made from then on, and nothing is freed.
static ENDER: AtomicUsize = AtomicUsize::new(0);

/// How long the end is put off for those who are within OpenSSL.
const LONGEST_END: Duration = Duration::from_secs(1);

fn is_ending() -> bool {
    ENDER.load(Ordering::SeqCst) != 0
}

fn is_anothers_end() -> bool {
    let ender = ENDER.load(Ordering::SeqCst);
    ender != 0 && ender != this_thread()
}

/// Locked within [`whole`] only, so that no child finds it locked.
static SHARED: Mutex<Shared> = Mutex::new(Shared {
    isolated: None,
    users: Vec::new(),
    generation: 0,
});

fn with_shared<T>(change: impl FnOnce(&mut Shared) -> T) -> T {
    whole(|| {
        let mut shared = SHARED.lock();
        if shared.generation != fork::current() {
            // The parent's, which is not freed: what it holds is anybody's guess.
            std::mem::forget(shared.isolated.take());
            shared.users.clear();
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
pub(crate) struct Lease {
    isolated: Arc<Isolated>,
    busy: Arc<Busy>,
}

impl Lease {
    /// `None` where libcrypto is not loaded or is older than 3: libtpms then
    /// uses the program's as it is.
    ///
    /// # Errors
    /// [`ErrorKind::GeneralFailure`] while another thread ends the process.
    pub(crate) fn new() -> Result<Option<Self>> {
        with_shared(|shared| {
            if is_anothers_end() {
                return Err(Error::new(
                    ErrorKind::GeneralFailure,
                    "this process is ending: there is no OpenSSL any more",
                ));
            }
            if shared.isolated.is_none() {
                shared.isolated = Isolated::new().map(Arc::new);
            }
            Ok(shared.isolated.clone().map(|isolated| {
                let busy = Arc::<Busy>::default();
                shared.users.push(busy.clone());
                Self { isolated, busy }
            }))
        })
    }

    /// Another use of the same.
    pub(crate) fn again(&self) -> Self {
        let busy = Arc::<Busy>::default();
        with_shared(|shared| {
            let known = shared.isolated.as_ref();
            if known.is_some_and(|known| Arc::ptr_eq(known, &self.isolated)) {
                shared.users.push(busy.clone());
            }
        });
        Self {
            isolated: self.isolated.clone(),
            busy,
        }
    }

    /// Runs `call` with our context as this thread's default; by one thread at a
    /// time. `None`, and no call, while another thread ends the process.
    #[inline]
    pub(crate) fn enter<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        /// Puts the program's back, also when the call panics.
        struct Restore<'a>(&'a Isolated, Context);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                // SAFETY: what the function returned on this thread before.
                unsafe { (self.0.set_default)(self.1) };
            }
        }

        /// Tells one who waits at the end that this thread is out.
        struct Leave<'a>(&'a Busy);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::Release);
            }
        }

        // Who ends the process says so before it looks who is within, and this
        // is the other way round.
        self.busy.swap(this_thread(), Ordering::SeqCst);
        let _leave = Leave(&self.busy);
        if is_anothers_end() {
            return None;
        }
        let isolated = &*self.isolated;
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
        Some(call())
    }

    /// To be called first on a thread that calls [`leave`](Self::leave) last.
    pub(crate) fn join() {
        THREAD.with(|thread| thread.ours.set(true));
    }

    /// Gives back what OpenSSL keeps for this thread.
    pub(crate) fn leave(&self) {
        if is_anothers_end() {
            return;
        }
        // SAFETY: the context lives as long as `self`; this thread is in no call.
        // The thread is ours, so that all that OpenSSL keeps for it may go; at
        // its end OpenSSL would take a lock of the whole process's to see to it.
        whole(|| unsafe {
            (self.isolated.stop_thread)(self.isolated.context);
            (self.isolated.stop_all)();
        });
    }

    /// Has OpenSSL enter this thread in its list, under a lock of the whole
    /// process's that a child must not find taken.
    #[cold]
    fn introduce(&self) {
        let mut byte = 0;
        // SAFETY: the context lives as long as `self`; one byte. Where there
        // are no random numbers, libtpms says so.
        whole(|| unsafe { (self.isolated.random)(self.isolated.context, &mut byte, 1, 0) });
        // OpenSSL is set up now, so that its clean-up comes after this.
        before_end(end);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        with_shared(|shared| {
            let isolated = &self.isolated;
            let known = shared.isolated.as_ref();
            if !known.is_some_and(|known| Arc::ptr_eq(known, isolated)) {
                return;
            }
            shared.users.retain(|busy| !Arc::ptr_eq(busy, &self.busy));
            if !shared.users.is_empty() {
                return;
            }
            shared.users = Vec::new();
            let only_ours =
                isolated.maker == this_thread() && !isolated.spread.load(Ordering::Relaxed);
            if only_ours && !is_ending() {
                shared.isolated = None;
                // SAFETY: nobody else uses it (the count, under its lock), and no
                // other thread has state in it.
                unsafe { (isolated.free)(isolated.context) };
            } else if isolated
                .place
                .is_some_and(|place| park(place, isolated.context))
            {
                shared.isolated = None;
            }
        });
    }
}

/// At the end, before OpenSSL's clean-up: whoever is within OpenSSL comes out
/// first, and nobody gets in any more. (Commands that take long were ended.)
fn end() {
    let deadline = Instant::now() + LONGEST_END;
    let mark = || {
        let shared = SHARED.try_lock()?;
        ENDER.store(this_thread(), Ordering::SeqCst);
        Some(shared.users.clone())
    };
    let users = patiently(deadline, || whole(mark)).unwrap_or_default();
    // A signal's handler that exits may have come upon its own thread in there.
    let is_out = |thread| thread == 0 || thread == this_thread();
    for busy in users {
        patiently(deadline, || {
            is_out(busy.load(Ordering::SeqCst)).then_some(())
        });
    }
}

/// Leaves a context that nobody uses. False where one is there already.
fn park(place: &Place, context: Context) -> bool {
    place
        .compare_exchange(
            ptr::null_mut(),
            context,
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .is_ok()
}

/// libcrypto's table of names (`OBJ_NAME_add` in its objects.h), which lives as
/// long as the process. Under a name of ours is a place for one context, which
/// every copy of this library finds. Each looks for it once: at the end OpenSSL
/// frees the table, and what it is locked with.
#[derive(Debug)]
struct Table {
    add: unsafe extern "C" fn(*const c_char, c_int, *const c_char) -> c_int,
    get: unsafe extern "C" fn(*const c_char, c_int) -> *const c_char,
}

impl Table {
    const NAME: &CStr = c"rusttcti: OSSL_LIB_CTX";
    /// `OBJ_NAME_TYPE_COMP_METH`, of which OpenSSL itself has no names.
    const TYPE: c_int = 4;

    /// The place, made where there was none; `None` without memory for one.
    fn place(&self) -> Option<&'static Place> {
        static FOUND: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());
        let known = FOUND.load(Ordering::Acquire);
        if !known.is_null() {
            // SAFETY: from a reference that lives for ever.
            return Some(unsafe { &*known });
        }
        let place = self.find().or_else(|| self.make())?;
        FOUND.store(ptr::from_ref(place).cast_mut(), Ordering::Release);
        Some(place)
    }

    fn find(&self) -> Option<&'static Place> {
        // SAFETY: a C string; under it is nothing but what `make` put there.
        unsafe {
            (self.get)(Self::NAME.as_ptr(), Self::TYPE)
                .cast::<Place>()
                .as_ref()
        }
    }

    #[cold]
    fn make(&self) -> Option<&'static Place> {
        const SIZE: usize = 4096;
        let name = Self::NAME.to_bytes_with_nul();
        let at = size_of::<Place>();
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
        self.find()
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
            let place = table.place();
            let parked = place.map_or(ptr::null_mut(), |place| {
                place.swap(ptr::null_mut(), Ordering::AcqRel)
            });
            let context = if parked.is_null() { new() } else { parked };
            (!context.is_null()).then(|| Self {
                context,
                set_default,
                random,
                stop_thread,
                stop_all,
                free,
                place,
                maker: if parked.is_null() { this_thread() } else { 0 },
                spread: AtomicBool::new(false),
                _library: library,
            })
        }
    }
}
