// SPDX-License-Identifier: BSD-2-Clause
//! A C context, used from Rust.

use std::sync::Arc;
use std::time::Duration;

use crate::sys::locks::Mutex;
use tss_esapi_sys::{
    TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2,
    TSS2_TCTI_POLL_HANDLE, size_t,
};

use super::foreign_error::LoadedModule;
use super::last_error::{catch, catch_silent};
use crate::sys::sigpipe;
use crate::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

/// A `TSS2_TCTI_CONTEXT` that C code made, as a [`Tcti`]. Dropping it leaves the
/// context as it is: its owner ends it, or [`finalize`](Tcti::finalize).
///
/// It calls the functions of a C context as the macros of tss2_tcti.h do: a missing
/// function is [`ErrorKind::NotImplemented`], and a function that the context's version
/// lacks is [`ErrorKind::AbiMismatch`].
///
/// ```
/// use rusttcti::{Context, ErrorKind, Native, Tcti};
/// use rusttcti::transport::null::Null;
///
/// let context = Context::new(Null::default()); // or any that C code made
/// // SAFETY: it outlives `native`, and is used by nothing else meanwhile.
/// let mut native = unsafe { Native::from_raw(context.as_ptr()) }?;
/// assert_eq!(&native.magic(), b"RUSTTCTI");
/// assert_eq!(native.magic_number(), u64::from_be_bytes(*b"RUSTTCTI"));
/// assert_eq!(native.version(), 2);
/// let error = native.make_sticky(0x8000_0000, true).expect_err("null has none");
/// assert_eq!(error.kind(), ErrorKind::NotImplemented);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Native {
    shared: Arc<SharedPointer>,
    /// The rusttcti module to ask for the text of a failure, if it is one.
    module: Option<LoadedModule>,
    /// Whether SIGPIPE is blocked during its calls.
    shielded: bool,
}

/// The context, null once finalized; shared with the cancellers.
#[derive(Debug)]
struct SharedPointer(Mutex<Pointer>);

#[derive(Clone, Copy, Debug)]
struct Pointer(*mut TSS2_TCTI_CONTEXT_COMMON_V1);

// SAFETY: `from_raw`'s contract allows the use from any thread, and the functions that
// must not run at once need `&mut Native`.
unsafe impl Send for Pointer {}

impl Native {
    /// Wraps a context.
    ///
    /// # Errors
    /// [`ErrorKind::BadReference`] for NULL; [`ErrorKind::AbiMismatch`] for version 0.
    ///
    /// # Safety
    /// `context` is NULL or a context that an Init function made. It stays valid as
    /// long as the returned value and its cancellers are used, and no other code uses
    /// it meanwhile. It may be used from any one thread at a time; its `cancel` also
    /// while another thread is in its `receive`.
    pub unsafe fn from_raw(context: *mut TSS2_TCTI_CONTEXT) -> Result<Self> {
        let context = context.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>();
        if context.is_null() {
            return Err(Error::new(
                ErrorKind::BadReference,
                "the TCTI context is NULL",
            ));
        }
        // SAFETY: a context that an Init function made, by the contract above.
        if unsafe { (*context).version } < 1 {
            return Err(Error::new(
                ErrorKind::AbiMismatch,
                "the TCTI context has no version",
            ));
        }
        // SAFETY: not NULL, and otherwise the same contract.
        Ok(unsafe { Self::new(context) })
    }

    /// Wraps a context that is known to be valid.
    ///
    /// # Safety
    /// The contract of [`from_raw`](Self::from_raw), and `context` is not NULL.
    pub(super) unsafe fn new(context: *mut TSS2_TCTI_CONTEXT_COMMON_V1) -> Self {
        Self {
            shared: Arc::new(SharedPointer(Mutex::new(Pointer(context)))),
            module: None,
            shielded: false,
        }
    }

    /// Gives up the context, which its owner is about to finalize: waits for a cancel
    /// under way, and allows no further call.
    pub(super) fn forget(&mut self) {
        self.shared.0.lock().0 = std::ptr::null_mut();
    }

    /// Adds the rusttcti module whose text describes failures.
    pub(super) fn with_module(self, module: Option<LoadedModule>) -> Self {
        Self { module, ..self }
    }

    /// Blocks SIGPIPE during later calls. The module may write to a pipe without a
    /// reader, and the signal would end the program.
    pub(super) fn shield(&mut self) {
        self.shielded = true;
    }

    /// Makes a call, and returns its failure with the best available text.
    fn call(&self, call: impl FnOnce() -> u32) -> Result<()> {
        catch(self.module.as_ref(), || self.guard(call))
    }

    /// Makes a call, with SIGPIPE blocked if `shielded` is set.
    fn guard<T>(&self, call: impl FnOnce() -> T) -> T {
        sigpipe::shielded_if(self.shielded, call)
    }

    fn pointer(&self) -> *mut TSS2_TCTI_CONTEXT_COMMON_V1 {
        self.shared.0.lock().0
    }

    /// Returns the functions of the context.
    fn vtable(&self) -> Result<TSS2_TCTI_CONTEXT_COMMON_V1> {
        let context = self.pointer();
        if context.is_null() {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the TCTI context was finalized",
            ));
        }
        // SAFETY: valid until finalized, by `from_raw`'s contract.
        Ok(unsafe { *context })
    }

    /// Returns the magic value as a number; 0 once finalized.
    pub fn magic_number(&self) -> u64 {
        self.vtable().map_or(0, |vtable| vtable.magic)
    }

    /// Returns the magic value as the eight bytes of the number, the most significant
    /// first.
    pub fn magic(&self) -> [u8; 8] {
        self.magic_number().to_be_bytes()
    }

    /// Returns the version of the interface (1 or 2); 0 once finalized.
    pub fn version(&self) -> u32 {
        self.vtable().map_or(0, |vtable| vtable.version)
    }
}

fn missing(function: &str) -> Error {
    Error::new(
        ErrorKind::NotImplemented,
        format!("this C module has no {function}"),
    )
}

#[cold]
fn beyond(size: usize, given: usize) -> Error {
    Error::new(
        ErrorKind::MalformedResponse,
        format!("the C module claims a response of {size} bytes in a buffer of {given}"),
    )
}

/// Converts a timeout to milliseconds for C: -1 for ever, fractions rounded up.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    match timeout {
        None => -1,
        Some(timeout) => timeout
            .as_nanos()
            .div_ceil(1_000_000)
            .try_into()
            .unwrap_or(i32::MAX),
    }
}

impl Tcti for Native {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let transmit = self.vtable()?.transmit.ok_or_else(|| missing("transmit"))?;
        let context = self.pointer().cast();
        // SAFETY: `from_raw`'s contract; a slice's pointer and length belong together.
        self.call(|| unsafe { transmit(context, command.len() as size_t, command.as_ptr()) })
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = self.vtable()?.receive.ok_or_else(|| missing("receive"))?;
        let context = self.pointer().cast();
        let mut size = response.len() as size_t;
        // SAFETY: `from_raw`'s contract; a slice's pointer and length belong together.
        self.call(|| unsafe {
            receive(
                context,
                &mut size,
                response.as_mut_ptr(),
                milliseconds(timeout),
            )
        })?;
        let size = size as usize;
        if size > response.len() {
            return Err(beyond(size, response.len()));
        }
        Ok(size)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.vtable().ok()?.cancel?;
        Some(self.shared.clone())
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let get = self
            .vtable()?
            .getPollHandles
            .ok_or_else(|| missing("getPollHandles"))?;
        let context = self.pointer().cast();
        let mut count: size_t = 0;
        // SAFETY: `from_raw`'s contract; NULL asks for the number.
        self.call(|| unsafe { get(context, std::ptr::null_mut(), &mut count) })?;
        let empty = TSS2_TCTI_POLL_HANDLE {
            fd: -1,
            events: 0,
            revents: 0,
        };
        let mut handles = vec![empty; count as usize];
        // SAFETY: `from_raw`'s contract; the vector has `count` places.
        self.call(|| unsafe { get(context, handles.as_mut_ptr(), &mut count) })?;
        handles.truncate(count as usize);
        Ok(handles
            .into_iter()
            .map(|h| PollHandle {
                fd: h.fd,
                events: h.events,
            })
            .collect())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        let set = self
            .vtable()?
            .setLocality
            .ok_or_else(|| missing("setLocality"))?;
        let context = self.pointer().cast();
        // SAFETY: `from_raw`'s contract.
        self.call(|| unsafe { set(context, locality) })
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        let version = self.vtable()?.version;
        if version < 2 {
            return Err(Error::new(
                ErrorKind::AbiMismatch,
                format!("a C context of version {version} has no makeSticky (it needs 2)"),
            ));
        }
        let context = self.pointer();
        // SAFETY: valid until finalized, and of version 2, whose struct this is.
        let make_sticky = unsafe { (*context.cast::<TSS2_TCTI_CONTEXT_COMMON_V2>()).makeSticky };
        let make_sticky = make_sticky.ok_or_else(|| missing("makeSticky"))?;
        let mut handle = handle;
        // SAFETY: `from_raw`'s contract.
        self.call(|| unsafe { make_sticky(context.cast(), &mut handle, sticky.into()) })?;
        Ok(handle)
    }

    /// Calls the context's finalize; the owner keeps its memory.
    ///
    /// # Errors
    /// The error of a Rust transport behind it. A C module cannot return one.
    fn finalize(&mut self) -> Result<()> {
        let vtable = match self.vtable() {
            Ok(vtable) => vtable,
            Err(_) => return Ok(()),
        };
        // Waits for a cancel under way, and allows no further one.
        let context = std::mem::replace(&mut *self.shared.0.lock(), Pointer(std::ptr::null_mut()));
        match vtable.finalize {
            None => Ok(()),
            Some(finalize) => catch_silent(|| {
                self.guard(|| {
                    // SAFETY: `from_raw`'s contract; it is called once.
                    unsafe { finalize(context.0.cast()) };
                });
            }),
        }
    }
}

impl Cancel for SharedPointer {
    fn cancel(&self) -> Result<()> {
        let context = self.0.lock();
        if context.0.is_null() {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the TCTI context was finalized",
            ));
        }
        // SAFETY: valid until finalized, which waits for the lock held here.
        let cancel = unsafe { (*context.0).cancel }.ok_or_else(|| missing("cancel"))?;
        // SAFETY: `from_raw`'s contract allows it beside a `receive`.
        catch(None, || {
            sigpipe::shielded(|| unsafe { cancel(context.0.cast()) })
        })
    }
}
