// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over a context of one's own process.
//!
//! All of it is generic, and so compiled in the program that uses it: the module
//! itself does not link to ESYS.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use tss_esapi_sys::{ESYS_CONTEXT, Esys_Finalize, Esys_Initialize};

use super::context::Context;
use super::last_error::catch;
use crate::{Result, Tcti};

/// An `ESYS_CONTEXT` over a [`Context`], from [`Context::esys`]. Dropping it
/// calls `Esys_Finalize`; the transport stays open.
///
/// ```
/// use std::ptr;
///
/// use rusttcti::{Context, Error};
/// use tss_esapi_sys::{ESYS_TR_NONE, Esys_Free, Esys_GetRandom};
///
/// let tcti = Context::new(rusttcti::open("libtpms")?);
/// let esys = tcti.esys()?;
/// let (none, mut random) = (ESYS_TR_NONE, ptr::null_mut());
/// // SAFETY: ESYS's context, and a place for a buffer that it allocates.
/// match unsafe { Esys_GetRandom(esys.as_ptr(), none, none, none, 16, &mut random) } {
///     // SAFETY: it is there, and freed once.
///     0 => unsafe {
///         assert_eq!((*random).size, 16);
///         Esys_Free(random.cast());
///     },
///     code => return Err(Error::from_rc(code)),
/// }
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// The transport cannot go first:
///
/// ```compile_fail,E0505
/// # use rusttcti::Context;
/// # use rusttcti::transport::null::Null;
/// let tcti = Context::new(Null::default());
/// let esys = tcti.esys()?;
/// drop(tcti); // nor tcti.into_inner()
/// esys.as_ptr();
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// Have one at a time over a context. A second one works for as long as their
/// calls never overlap, on threads or between an `_Async` call and its `_Finish`:
/// the later one then fails with `TSS2_TCTI_RC_BAD_SEQUENCE`, after which ESYS
/// does not let it go on. The first is not disturbed.
pub struct Esys<'a, T: Tcti + 'static = Box<dyn Tcti>> {
    context: *mut ESYS_CONTEXT,
    tcti: PhantomData<&'a Context<T>>,
}

impl<T: Tcti> Context<T> {
    /// ESYS over this transport, for as long as the value is kept. The program
    /// then needs libtss2-esys, as any that calls ESYS does.
    ///
    /// # Errors
    /// What `Esys_Initialize` fails with.
    pub fn esys(&self) -> Result<Esys<'_, T>> {
        let mut context = ptr::null_mut();
        // SAFETY: a place, and a context that the value returned borrows; the
        // ABI version is ESYS's own choice.
        catch(None, || unsafe {
            Esys_Initialize(&mut context, self.as_ptr(), ptr::null_mut())
        })
        .map_err(|error| error.context("cannot initialize ESYS"))?;
        Ok(Esys {
            context,
            tcti: PhantomData,
        })
    }
}

impl<T: Tcti> Esys<'_, T> {
    /// The context for ESYS's functions: valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut ESYS_CONTEXT {
        self.context
    }
}

// Not derived, which would ask the transport for it.
impl<T: Tcti> fmt::Debug for Esys<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Esys").field(&self.context).finish()
    }
}

impl<T: Tcti> Drop for Esys<'_, T> {
    fn drop(&mut self) {
        // SAFETY: made by `Context::esys`; its transport is borrowed till now.
        unsafe { Esys_Finalize(&mut self.context) };
    }
}
