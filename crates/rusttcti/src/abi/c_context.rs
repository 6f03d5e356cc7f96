// SPDX-License-Identifier: BSD-2-Clause
//! The C struct: a vtable in front, a [`Bridge`] behind it. Each function here checks
//! its pointers, calls the bridge and returns a response code.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sys::locks::Mutex;
use tss_esapi_sys::{
    TPM2_HANDLE, TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1,
    TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_POLL_HANDLE, size_t,
};

use super::bridge::Bridge;
use super::last_error::{answer, opened};
use crate::sys::descriptors::with_stdio_taken;
use crate::sys::panic::{caught, guarded};
use crate::sys::sigpipe;
use crate::{Error, ErrorKind, Magic, Result, Tcti};

/// The struct behind a `TSS2_TCTI_CONTEXT *` of ours. All state is inside it, so a
/// finalized context still answers as a finalized one until its memory is freed.
#[repr(C)]
pub(super) struct CContext {
    common: TSS2_TCTI_CONTEXT_COMMON_V2,
    /// A second copy of the magic, outside the part that C may write.
    magic: u64,
    /// The copy of this library that made the context. Two modules in one process may
    /// share a magic, but each knows only the layout of its own contexts.
    maker: *const KnownMagics,
    bridge: Bridge,
}

/// The parameters of a context, beside its transport.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub magic: Magic,
    /// The size of the largest response in bytes.
    pub max_size: usize,
    /// Whether to block SIGPIPE during the transport's calls, and to keep its
    /// descriptors off the numbers of the standard streams. Set for transports from
    /// outside this crate.
    pub shielded: bool,
}

impl Settings {
    /// The defaults of [`Module`](crate::Module).
    pub const DEFAULT: Self = Self {
        magic: Magic::new(b"RUSTTCTI"),
        max_size: 4096,
        shielded: false,
    };
}

impl CContext {
    pub(super) fn new(transport: Box<dyn Tcti>, settings: Settings) -> Self {
        let Settings {
            magic,
            max_size,
            shielded,
        } = settings;
        let magic = magic.number();
        KnownMagics::add(magic);
        Self {
            common: TSS2_TCTI_CONTEXT_COMMON_V2 {
                v1: TSS2_TCTI_CONTEXT_COMMON_V1 {
                    magic,
                    version: 2,
                    transmit: Some(transmit),
                    receive: Some(receive),
                    finalize: Some(finalize),
                    cancel: Some(cancel),
                    getPollHandles: Some(get_poll_handles),
                    setLocality: Some(set_locality),
                },
                makeSticky: Some(make_sticky),
            },
            magic,
            maker: &raw const KNOWN,
            bridge: Bridge::new(transport, max_size, shielded),
        }
    }

    pub(super) fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Keeps the errors of later calls. The context must then be dropped, not freed.
    pub(super) fn keeping_failures(mut self) -> Self {
        self.bridge.keep_failures();
        self
    }
}

/// The magics of all contexts made so far. A foreign struct is recognised by its first
/// eight bytes, so nothing behind them is read.
struct KnownMagics {
    places: [AtomicU64; 64],
    used: AtomicUsize,
}

static KNOWN: KnownMagics = KnownMagics {
    places: [const { AtomicU64::new(0) }; 64],
    used: AtomicUsize::new(0),
};

impl KnownMagics {
    fn add(magic: u64) {
        static ADDING: Mutex<()> = Mutex::new(());
        if Self::has(magic) {
            return;
        }
        let _adding = ADDING.lock();
        let used = KNOWN.used.load(Ordering::Relaxed);
        if Self::has(magic) {
            return; // another thread registered it; a place counted but not yet filled is 0
        }
        if let Some(place) = KNOWN.places.get(used) {
            place.store(magic, Ordering::Relaxed);
        }
        // A count above the number of places means that some magics are not listed.
        KNOWN
            .used
            .store((used + 1).min(KNOWN.places.len() + 1), Ordering::Release);
    }

    #[inline]
    fn has(magic: u64) -> bool {
        // Most programs have contexts of one magic only.
        (magic != 0 && KNOWN.places[0].load(Ordering::Relaxed) == magic) || Self::lists(magic)
    }

    #[cold]
    fn lists(magic: u64) -> bool {
        let used = KNOWN.used.load(Ordering::Acquire);
        match KNOWN.places.get(..used) {
            Some(places) => places
                .iter()
                .any(|place| place.load(Ordering::Relaxed) == magic),
            None => true,
        }
    }
}

/// Returns the c_context behind a pointer that C gave; `None` for a pointer that
/// [`refused`] gives the reason for.
///
/// # Safety
/// `context` is NULL, or points to at least a `TSS2_TCTI_CONTEXT_COMMON_V1`. If it
/// begins with a magic of this library, this library initialised it and its memory is
/// still there.
#[inline]
unsafe fn c_context<'a>(context: *mut TSS2_TCTI_CONTEXT) -> Option<&'a CContext> {
    let c_context = context.cast::<CContext>().cast_const();
    if c_context.is_null() || !c_context.is_aligned() {
        return None;
    }
    // SAFETY: the pointer is not NULL, is aligned, and by the contract above reaches
    // over the public part. The magic is read without a reference, since C may write
    // it.
    let magic = unsafe { (&raw const (*c_context).common.v1.magic).read() };
    if !KnownMagics::has(magic) {
        return None;
    }
    // SAFETY: a context with a known magic comes from a copy of this library, so it
    // reaches at least to `maker`. Only a context that this copy made is read as a
    // whole.
    if unsafe { (&raw const (*c_context).maker).read() } != &raw const KNOWN {
        return None;
    }
    // SAFETY: by the contract above a known magic means a whole c_context of ours. No
    // reference to `common`, which C may write, is used here.
    let c_context = unsafe { &*c_context };
    (magic == c_context.magic).then_some(c_context)
}

#[cold]
fn refused(context: *mut TSS2_TCTI_CONTEXT) -> Error {
    if context.is_null() {
        return Error::new(ErrorKind::BadReference, "the TCTI context is NULL");
    }
    Error::new(
        ErrorKind::BadContext,
        "the TCTI context was not made by this module (its magic is wrong, or another module \
         made it)",
    )
}

/// Runs one call on the bridge behind `context`, and returns its response code.
///
/// # Safety
/// The contract of [`c_context`].
#[inline]
unsafe fn call(
    what: &'static str,
    context: *mut TSS2_TCTI_CONTEXT,
    run: impl FnOnce(&Bridge) -> Result<()>,
) -> TSS2_RC {
    let answered = caught(|| {
        // SAFETY: this function has the same contract as `c_context`.
        let result = match unsafe { c_context(context) } {
            Some(c_context) => {
                let result = run(&c_context.bridge);
                c_context.bridge.keep(&result);
                result
            }
            None => Err(refused(context)),
        };
        answer(what, result)
    });
    match answered {
        Ok(rc) => rc,
        Err(panic) => answer(what, Err(panic)),
    }
}

unsafe extern "C" fn transmit(
    context: *mut TSS2_TCTI_CONTEXT,
    size: size_t,
    command: *const u8,
) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe {
        call("transmit", context, |bridge| {
            let command = (!command.is_null()).then(|| match isize::try_from(size) {
                // SAFETY: the C interface's contract: `size` readable bytes.
                Ok(_) => slice::from_raw_parts(command, size as usize),
                // No buffer has that many bytes; an empty command is refused as well.
                Err(_) => &[],
            });
            bridge.transmit(command)
        })
    }
}

unsafe extern "C" fn receive(
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    response: *mut u8,
    timeout: i32,
) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe {
        call("receive", context, |bridge| {
            // SAFETY: the C interface's contract: NULL or a size_t.
            let mut given = size.as_ref().map(|size| *size as usize);
            let response = (!response.is_null()).then(|| {
                let capacity = given.unwrap_or(0).min(bridge.max_size());
                // SAFETY: the C interface's contract: `*size` writable bytes, of which
                // at most the length of the largest response is claimed.
                slice::from_raw_parts_mut(response.cast::<MaybeUninit<u8>>(), capacity)
            });
            let result = bridge.receive(given.as_mut(), response, timeout);
            if let Some(needed) = given {
                // SAFETY: `given` has a value only if `size` is not NULL.
                *size = needed as size_t;
            }
            result
        })
    }
}

unsafe extern "C" fn finalize(context: *mut TSS2_TCTI_CONTEXT) {
    if context.is_null() {
        return;
    }
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe { call("finalize", context, Bridge::finalize) };
}

unsafe extern "C" fn cancel(context: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe { call("cancel", context, Bridge::cancel) }
}

unsafe extern "C" fn get_poll_handles(
    context: *mut TSS2_TCTI_CONTEXT,
    handles: *mut TSS2_TCTI_POLL_HANDLE,
    num_handles: *mut size_t,
) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe {
        call("getPollHandles", context, |bridge| {
            // SAFETY: by the C interface's contract `num_handles` points to a size_t
            // that was set, if there is an array of that size.
            let counts = !handles.is_null() && !num_handles.is_null();
            let places = counts.then(|| *num_handles as usize);
            let found = bridge.poll_handles(num_handles.is_null(), places)?;
            // SAFETY: not NULL, as the bridge checked.
            num_handles.write(found.len() as size_t);
            let Some(places) = places else {
                return Ok(());
            };
            if places < found.len() {
                return Err(Error::new(
                    ErrorKind::InsufficientBuffer,
                    format!(
                        "there are {} poll handles, but the caller's array has room for {places}",
                        found.len()
                    ),
                ));
            }
            for (at, handle) in found.iter().enumerate() {
                // SAFETY: the array has `places` places, and `at` is smaller.
                handles.add(at).write(TSS2_TCTI_POLL_HANDLE {
                    fd: handle.fd,
                    events: handle.events,
                    revents: 0,
                });
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn set_locality(context: *mut TSS2_TCTI_CONTEXT, locality: u8) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one.
    unsafe {
        call("setLocality", context, |bridge| {
            bridge.set_locality(locality)
        })
    }
}

unsafe extern "C" fn make_sticky(
    context: *mut TSS2_TCTI_CONTEXT,
    handle: *mut TPM2_HANDLE,
    sticky: u8,
) -> TSS2_RC {
    // SAFETY: the C interface's contract: a context of ours or a foreign one;
    // NULL or a handle.
    unsafe {
        call("makeSticky", context, |bridge| {
            bridge.make_sticky(handle.as_mut(), sticky != 0)
        })
    }
}

/// Power-cycles the TPM: `Tss2_Tcti_Rusttcti_Reset`.
///
/// # Safety
/// The contract of `c_context`.
pub unsafe fn reset(context: *mut TSS2_TCTI_CONTEXT) -> TSS2_RC {
    // SAFETY: this function has the same contract as `call`.
    unsafe { call("Reset", context, Bridge::reset) }
}

/// Runs a whole `Init` function; `open` makes the transport.
///
/// # Safety
/// `context` is NULL or memory of `*size` bytes; `size` is NULL or a size;
/// `conf` is NULL or a C string.
pub unsafe fn init(
    what: &'static str,
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
    settings: Settings,
    open: impl FnOnce(Option<&str>) -> Result<Box<dyn Tcti>>,
) -> TSS2_RC {
    let needed = size_of::<CContext>();
    let result = guarded(|| {
        if size.is_null() {
            return Err(Error::new(ErrorKind::BadReference, "size is NULL"));
        }
        if context.is_null() {
            // SAFETY: not NULL, so a size_t by the contract above.
            unsafe { *size = needed as size_t };
            return Ok(());
        }
        // SAFETY: not NULL, as above.
        let given = unsafe { *size };
        if (given as usize) < needed {
            return Err(Error::new(
                ErrorKind::BadValue,
                format!("the context needs {needed} bytes, but the caller gave {given}"),
            ));
        }
        let place = context.cast::<CContext>();
        if !place.is_aligned() {
            return Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "the context's memory is not aligned to {} bytes",
                    align_of::<CContext>()
                ),
            ));
        }
        // SAFETY: NULL or a C string, by the contract above.
        let conf = unsafe { text(conf) }?;
        let transport = match settings.shielded {
            true => with_stdio_taken(|| sigpipe::shielded(|| guarded(|| open(conf))))?,
            false => open(conf)?,
        };
        let c_context = CContext::new(transport, settings);
        // SAFETY: the place is aligned and large enough, as was just checked.
        unsafe { place.write(c_context) };
        Ok(())
    });
    opened(what, result)
}

/// Returns a configuration string; `None` for NULL.
///
/// # Safety
/// `conf` is NULL or a C string that does not change during `'a`.
unsafe fn text<'a>(conf: *const c_char) -> Result<Option<&'a str>> {
    if conf.is_null() {
        return Ok(None);
    }
    // SAFETY: by the contract above.
    let conf = unsafe { std::ffi::CStr::from_ptr(conf) };
    conf.to_str().map(Some).map_err(|error| {
        Error::with_source(
            ErrorKind::BadValue,
            format!(
                "the configuration \"{}\" is not UTF-8",
                conf.to_string_lossy()
            ),
            error,
        )
    })
}
