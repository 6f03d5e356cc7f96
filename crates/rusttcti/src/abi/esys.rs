// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over a context of one's own process.
//!
//! All that calls ESYS is generic, and so compiled in the program that uses it:
//! the module itself does not link to ESYS.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;

use tss_esapi_sys::{ESYS_CONTEXT, Esys_Finalize, Esys_Initialize};

use super::context::Context;
use super::last_error::{catch, of_code};
use crate::{Result, Tcti};

/// An `ESYS_CONTEXT` over a [`Context`], from [`Context::esys`]. Dropping it
/// calls `Esys_Finalize`; the transport stays open.
///
/// ```
/// use std::ptr;
///
/// use rusttcti::Context;
/// use tss_esapi_sys::{ESYS_TR_NONE, Esys_Free, Esys_GetRandom};
///
/// let tcti = Context::new(rusttcti::open("libtpms")?);
/// let esys = tcti.esys()?;
/// let (none, mut random) = (ESYS_TR_NONE, ptr::null_mut());
/// // SAFETY: ESYS's context, and a place for a buffer that it allocates.
/// let code = unsafe { Esys_GetRandom(esys.as_ptr(), none, none, none, 16, &mut random) };
/// esys.check(code)?; // what the transport failed with, its causes included
/// // SAFETY: it is there, and freed once.
/// unsafe {
///     assert_eq!((*random).size, 16);
///     Esys_Free(random.cast());
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
/// A value that holds both, for a struct or for another thread, is made by
/// [`Context::into_esys`].
///
/// Have one at a time over a context. A second one works for as long as their
/// calls never overlap, on threads or between an `_Async` call and its `_Finish`:
/// the later one then fails with `TSS2_TCTI_RC_BAD_SEQUENCE`, after which ESYS
/// does not let it go on. The first is not disturbed.
pub struct Esys<'a, T: Tcti + 'static = Box<dyn Tcti>> {
    context: *mut ESYS_CONTEXT,
    tcti: &'a Context<T>,
}

/// An `ESYS_CONTEXT` and the [`Context`] below it in one value, from
/// [`Context::into_esys`]. Dropping it calls `Esys_Finalize`, and then finalizes
/// the transport.
///
/// ```
/// use rusttcti::{Context, OwnedEsys, Result};
/// use tss_esapi_sys::Esys_SelfTest;
///
/// struct Tpm(OwnedEsys);
///
/// impl Tpm {
///     fn open(chain: &str) -> Result<Self> {
///         Ok(Self(Context::new(rusttcti::open(chain)?).into_esys()?))
///     }
///
///     fn self_test(&mut self) -> Result<()> {
///         let none = tss_esapi_sys::ESYS_TR_NONE;
///         // SAFETY: ESYS's context.
///         let code = unsafe { Esys_SelfTest(self.0.as_ptr(), none, none, none, 0) };
///         self.0.check(code)
///     }
/// }
///
/// let mut tpm = Tpm::open("libtpms")?;
/// std::thread::spawn(move || tpm.self_test()).join().expect("no panic")?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct OwnedEsys<T: Tcti + 'static = Box<dyn Tcti>> {
    context: *mut ESYS_CONTEXT,
    /// Goes after ESYS's context: fields are dropped after the value itself is.
    tcti: Context<T>,
}

// SAFETY: ESYS keeps all state in its context and none of a thread; its calls
// take the pointer, which one thread at a time has. The transport is Send.
unsafe impl<T: Tcti> Send for OwnedEsys<T> {}

impl<T: Tcti> Context<T> {
    /// Returns ESYS over this transport, for as long as the value is kept. The
    /// program then needs libtss2-esys, as any that calls ESYS does.
    ///
    /// # Errors
    /// What `Esys_Initialize` fails with.
    pub fn esys(&self) -> Result<Esys<'_, T>> {
        Ok(Esys {
            context: initialize(self)?,
            tcti: self,
        })
    }

    /// Returns ESYS over this transport, and the transport with it. The program
    /// then needs libtss2-esys, as any that calls ESYS does.
    ///
    /// # Errors
    /// What `Esys_Initialize` fails with; the transport is finalized then.
    pub fn into_esys(self) -> Result<OwnedEsys<T>> {
        Ok(OwnedEsys {
            context: initialize(&self)?,
            tcti: self,
        })
    }

    /// Returns what an ESYS call over this context came to.
    fn check(&self, rc: u32) -> Result<()> {
        match self.bridge().recent_error() {
            _ if rc == 0 => Ok(()),
            Some(error) if error.rc() == rc => Err(error),
            _ => Err(of_code(rc)),
        }
    }
}

/// Makes ESYS's context over a transport that outlives it.
fn initialize<T: Tcti>(tcti: &Context<T>) -> Result<*mut ESYS_CONTEXT> {
    let mut context = ptr::null_mut();
    // SAFETY: a place, and a context that the caller keeps for as long as the
    // pointer is used; the ABI version is ESYS's own choice.
    catch(None, || unsafe {
        Esys_Initialize(&mut context, tcti.as_ptr(), ptr::null_mut())
    })
    .map_err(|error| error.context("cannot initialize ESYS"))?;
    Ok(context)
}

impl<T: Tcti> Esys<'_, T> {
    /// Returns the context for ESYS's functions: valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut ESYS_CONTEXT {
        self.context
    }

    /// Turns the response code of an ESYS call into a result, right after that
    /// call.
    ///
    /// # Errors
    /// Where the transport below failed, its own [`Error`](crate::Error), with the
    /// sentence and the causes. Where the TPM or ESYS did, an error of this code,
    /// with tss2-rc's words for it.
    pub fn check(&self, rc: u32) -> Result<()> {
        self.tcti.check(rc)
    }
}

impl<T: Tcti> OwnedEsys<T> {
    /// Returns the context for ESYS's functions: valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut ESYS_CONTEXT {
        self.context
    }

    /// Turns the response code of an ESYS call into a result, as [`Esys::check`]
    /// does.
    ///
    /// # Errors
    /// Those of [`Esys::check`].
    pub fn check(&self, rc: u32) -> Result<()> {
        self.tcti.check(rc)
    }

    /// Returns the transport's context, which ESYS uses.
    pub fn context(&self) -> &Context<T> {
        &self.tcti
    }

    /// Ends ESYS, and returns the transport's context, still open.
    pub fn into_context(self) -> Context<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: made by `initialize`, and used no more: `this` is not dropped.
        unsafe { Esys_Finalize(&mut this.context) };
        // SAFETY: read once; `this`, which has it too, is not dropped.
        unsafe { ptr::read(&this.tcti) }
    }
}

// Not derived, which would ask the transport for it.
impl<T: Tcti> fmt::Debug for Esys<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Esys").field(&self.context).finish()
    }
}

impl<T: Tcti> fmt::Debug for OwnedEsys<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedEsys").field(&self.context).finish()
    }
}

impl<T: Tcti> Drop for Esys<'_, T> {
    fn drop(&mut self) {
        // SAFETY: made by `initialize`; its transport is borrowed till now.
        unsafe { Esys_Finalize(&mut self.context) };
    }
}

impl<T: Tcti> Drop for OwnedEsys<T> {
    fn drop(&mut self) {
        // SAFETY: made by `initialize`; its transport is dropped after this.
        unsafe { Esys_Finalize(&mut self.context) };
    }
}
