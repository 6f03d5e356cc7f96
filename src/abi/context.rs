// SPDX-License-Identifier: BSD-2-Clause
//! A Rust transport as a C context, inside one's own process.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use tss_esapi_sys::TSS2_TCTI_CONTEXT;

use super::blob::{Blob, Settings};
use super::module::Magic;
use crate::Tcti;

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
pub struct Context<T: Tcti + 'static = Box<dyn Tcti>> {
    /// Owned, from a `Box`; a pointer, because C has copies of it.
    blob: NonNull<Blob>,
    transport: PhantomData<T>,
}

// SAFETY: the transport is Send, and the blob's functions lock.
unsafe impl<T: Tcti> Send for Context<T> {}
// SAFETY: `&Context` gives nothing but the pointer, whose functions lock.
unsafe impl<T: Tcti> Sync for Context<T> {}

impl<T: Tcti> Context<T> {
    /// A context of this transport, with [`Module`](crate::Module)'s default
    /// magic and 4096 bytes for the largest response.
    pub fn new(tcti: T) -> Self {
        ContextBuilder::default().build(tcti)
    }

    /// The context for C: valid until this value is dropped, of which the
    /// pointer knows nothing. [`esys`](Self::esys) does.
    pub fn as_ptr(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.blob.as_ptr().cast()
    }

    /// The transport, back from use: as it is, not finalized. `None` where C
    /// finalized the context, or after fork(2) in the child.
    pub fn into_inner(self) -> Option<T> {
        // SAFETY: the blob lives as long as `self`.
        let transport = unsafe { self.blob.as_ref() }.bridge().take()?;
        // SAFETY: `build` boxed a T, and nothing but that box was taken out.
        Some(*unsafe { Box::from_raw(Box::into_raw(transport).cast::<T>()) })
    }
}

// Not derived, which would ask the transport for it.
impl<T: Tcti> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.blob).finish()
    }
}

impl Context {
    /// A context with a magic or a size of one's own.
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }
}

impl<T: Tcti> Drop for Context<T> {
    fn drop(&mut self) {
        // SAFETY: from `Box::into_raw` in `build`, and given back only here.
        let blob = unsafe { Box::from_raw(self.blob.as_ptr()) };
        super::last_error::answer("finalize", blob.bridge().finalize());
        if blob.bridge().is_inherited() {
            // The parent's transport: dropping it here might reach its peer.
            std::mem::forget(blob);
        }
    }
}

/// What a [`Context`] can be given.
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
    /// The magic value of the context.
    pub fn magic(mut self, magic: Magic) -> Self {
        self.0.magic = magic;
        self
    }

    /// The size of the largest response in bytes.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.0.max_size = max_size;
        self
    }

    /// The context of this transport.
    pub fn build<T: Tcti>(self, tcti: T) -> Context<T> {
        let blob = Box::new(Blob::new(Box::new(tcti), self.0));
        // SAFETY: a Box is never NULL.
        let blob = unsafe { NonNull::new_unchecked(Box::into_raw(blob)) };
        Context {
            blob,
            transport: PhantomData,
        }
    }
}
