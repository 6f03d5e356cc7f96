// SPDX-License-Identifier: BSD-2-Clause
//! A Rust transport as a C context, inside the Rust program's own process.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use tss_esapi_sys::TSS2_TCTI_CONTEXT;

use super::bridge::Bridge;
use super::c_context::{CContext, Settings};
use super::native::Native;
use crate::sys::panic::guarded;
use crate::{Cancel, Error, Magic, PollHandle, Result, Tcti};

/// A `TSS2_TCTI_CONTEXT` whose functions are a Rust transport's, for ESYS, SYS
/// or any C code in the same process. Dropping it finalizes the transport. The
/// C type is that of the crate `tss-esapi-sys`, version 0.6.
///
/// ```
/// use rusttcti::Context;
/// use rusttcti::transport::null::Null;
///
/// let context = Context::new(Null::default());
/// let for_c = context.as_ptr();
/// assert!(!for_c.is_null());
/// let null: Option<Null> = context.into_inner(); // back, and still open
/// # assert!(null.is_some());
/// ```
///
/// It is a [`Tcti`] as well. Its methods call the functions that C would call, with all
/// the bridge's checks, so a test uses the transport as programs will.
///
/// ```
/// use rusttcti::{Context, ErrorKind, Tcti};
/// use rusttcti::transport::null::Null;
///
/// let mut context = Context::new(Null::default());
/// let early = context.receive(&mut [0; 4096], None).expect_err("no command was sent");
/// assert_eq!(early.kind(), ErrorKind::BadSequence);
/// ```
pub struct Context<T: Tcti + 'static = Box<dyn Tcti>> {
    /// The context, owned, from a `Box`. It is a raw pointer because C holds copies of
    /// it.
    c_context: NonNull<CContext>,
    /// The context, as a C caller uses it.
    native: Native,
    transport: PhantomData<T>,
}

// SAFETY: the transport is Send, and the c_context's functions lock.
unsafe impl<T: Tcti> Send for Context<T> {}
// SAFETY: `&Context` exposes only the pointer, whose functions lock, and a canceller,
// which may run beside them.
unsafe impl<T: Tcti> Sync for Context<T> {}

impl<T: Tcti> Context<T> {
    /// Returns a context of this transport, with [`Module`](crate::Module)'s default
    /// magic and 4096 bytes for the largest response.
    pub fn new(tcti: T) -> Self {
        ContextBuilder::default().build(tcti)
    }

    /// Returns the context for C. It is valid until this value is dropped, which the
    /// pointer's type does not enforce; [`esys`](Self::esys) enforces it. C may
    /// finalize the context, but not free it, as `Tss2_TctiLdr_Finalize` does.
    pub fn as_ptr(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.c_context.as_ptr().cast()
    }

    /// Returns the error of the last call on this context that failed, made from Rust
    /// or from C. It is the transport's own error with its causes, or that of one of
    /// the bridge's checks. `None` if no call has failed, and after fork(2) in the
    /// child.
    ///
    /// C code in between, such as ESYS, passes only the error's response code on;
    /// [`Esys::check`](crate::Esys::check) returns the error that belongs to the code.
    ///
    /// ```
    /// use rusttcti::{Context, ErrorKind, Tcti};
    /// use rusttcti::transport::null::Null;
    ///
    /// let mut context = Context::new(Null::default());
    /// assert!(context.last_error().is_none());
    /// context.set_locality(7).expect_err("no TPM has it");
    /// let error = context.last_error().expect("it failed");
    /// assert_eq!(error.kind(), ErrorKind::BadValue);
    /// ```
    pub fn last_error(&self) -> Option<Error> {
        self.bridge().last_error()
    }

    /// Returns the transport as it is, not finalized. `None` if C finalized the
    /// context, or after fork(2) in the child.
    pub fn into_inner(self) -> Option<T> {
        let transport = self.bridge().take()?;
        // SAFETY: `build` boxed a T, and no other value was put in its place.
        Some(*unsafe { Box::from_raw(Box::into_raw(transport).cast::<T>()) })
    }
}

impl<T: Tcti> Context<T> {
    pub(super) fn bridge(&self) -> &Bridge {
        // SAFETY: the c_context lives as long as `self`.
        unsafe { self.c_context.as_ref() }.bridge()
    }

    /// Returns the context as a C caller uses it. Fails in a forked child, in which the
    /// context may be locked by a thread of the parent.
    fn native(&mut self) -> Result<&mut Native> {
        self.bridge().check_process()?;
        Ok(&mut self.native)
    }
}

impl<T: Tcti> Tcti for Context<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.native()?.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.native()?.receive(response, timeout)
    }

    /// Returns a canceller even if the transport has none; its `cancel` then fails with
    /// that reason.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        match self.bridge().is_inherited() {
            true => None,
            false => self.native.canceller(),
        }
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.native()?.poll_handles()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.native()?.set_locality(locality)
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.native()?.make_sticky(handle, sticky)
    }

    fn reset(&mut self) -> Result<()> {
        let result = guarded(|| self.bridge().reset());
        self.bridge().keep(&result);
        result
    }

    /// Finalizes the transport, which [`into_inner`](Self::into_inner) then no longer
    /// returns. The transport has ended even if this fails.
    fn finalize(&mut self) -> Result<()> {
        self.native()?.finalize()
    }
}

// Not derived: that would need `T: Debug`.
impl<T: Tcti> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.c_context).finish()
    }
}

impl Context {
    /// Returns a builder for a context with another magic or size.
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }
}

impl<T: Tcti> Drop for Context<T> {
    fn drop(&mut self) {
        if !self.bridge().is_inherited() {
            // A canceller may outlive this value.
            self.native.forget();
        }
        // SAFETY: from `Box::into_raw` in `build`, and given back only here.
        let c_context = unsafe { Box::from_raw(self.c_context.as_ptr()) };
        super::last_error::answer("finalize", c_context.bridge().finalize());
        if c_context.bridge().is_inherited() {
            // The transport is the parent's: dropping it here might reach its peer.
            std::mem::forget(c_context);
        }
    }
}

/// The parameters of a [`Context`].
///
/// ```
/// use rusttcti::{Context, Magic};
/// use rusttcti::transport::null::Null;
///
/// let context =
///     Context::builder().magic(Magic::new(b"COOL")).max_size(1024).build(Null::default());
/// # drop(context);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContextBuilder(Settings);

impl Default for ContextBuilder {
    fn default() -> Self {
        Self(Settings::DEFAULT)
    }
}

impl ContextBuilder {
    /// Sets the magic value of the context.
    pub fn magic(mut self, magic: Magic) -> Self {
        self.0.magic = magic;
        self
    }

    /// Sets the size of the largest response in bytes.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.0.max_size = max_size;
        self
    }

    /// Makes the context of this transport.
    pub fn build<T: Tcti>(self, tcti: T) -> Context<T> {
        let c_context = Box::new(CContext::new(Box::new(tcti), self.0).keeping_failures());
        // SAFETY: a Box is never NULL.
        let c_context = unsafe { NonNull::new_unchecked(Box::into_raw(c_context)) };
        // SAFETY: the context is ours, and its cancellers are cut off before it is
        // dropped. Its functions lock, so C may use it at the same time.
        let native = unsafe { Native::new(c_context.as_ptr().cast()) };
        Context {
            c_context,
            native,
            transport: PhantomData,
        }
    }
}
