// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over a context in the program's own process.
//!
//! All functions that call ESYS are generic, so they are compiled in the program that
//! uses them: the module itself does not link to ESYS.

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
/// esys.check(code)?; // the transport's own error, with its causes
/// // SAFETY: it is there, and freed once.
/// unsafe {
///     assert_eq!((*random).size, 16);
///     Esys_Free(random.cast());
/// }
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// The transport cannot be dropped first:
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
/// [`Context::into_esys`] makes a value that holds both, for a struct or for another
/// thread.
///
/// Use one `Esys` at a time over a context. A second one works only while their calls
/// do not overlap, on threads or between an `_Async` call and its `_Finish`. If they
/// do, the later call fails with `TSS2_TCTI_RC_BAD_SEQUENCE`, and its ESYS context
/// cannot be used any more; the first is not affected.
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
    /// Dropped after ESYS's context: fields are dropped after the value's own `drop`.
    tcti: Context<T>,
}

// SAFETY: ESYS keeps all state in its context and no state for a thread. Its calls take
// the pointer, which one thread at a time has. The transport is Send.
unsafe impl<T: Tcti> Send for OwnedEsys<T> {}

impl<T: Tcti> Context<T> {
    /// Returns ESYS over this transport, which it borrows. The program must link to
    /// libtss2-esys, as every caller of ESYS does.
    ///
    /// # Errors
    /// Those of `Esys_Initialize`.
    pub fn esys(&self) -> Result<Esys<'_, T>> {
        Ok(Esys {
            context: initialize(self)?,
            tcti: self,
        })
    }

    /// Returns ESYS over this transport, together with the transport. The program must
    /// link to libtss2-esys, as every caller of ESYS does.
    ///
    /// # Errors
    /// Those of `Esys_Initialize`; the transport is finalized then.
    pub fn into_esys(self) -> Result<OwnedEsys<T>> {
        Ok(OwnedEsys {
            context: initialize(&self)?,
            tcti: self,
        })
    }

    /// Returns the result of an ESYS call over this context.
    fn check(&self, rc: u32) -> Result<()> {
        match self.bridge().recent_error() {
            _ if rc == 0 => Ok(()),
            Some(error) if error.rc() == rc => Err(error),
            _ => Err(of_code(rc)),
        }
    }
}

/// Makes an ESYS context over a transport that outlives it.
fn initialize<T: Tcti>(tcti: &Context<T>) -> Result<*mut ESYS_CONTEXT> {
    let mut context = ptr::null_mut();
    // SAFETY: a place for the pointer, and a context that the caller keeps as long as
    // the pointer is used; ESYS chooses the ABI version.
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

    /// Turns the response code of an ESYS call into a result. Call it right after that
    /// call.
    ///
    /// # Errors
    /// If the transport below failed: its own [`Error`](crate::Error), with the
    /// sentence and the causes. If the TPM or ESYS failed: an error of this code, with
    /// the text of tss2-rc.
    pub fn check(&self, rc: u32) -> Result<()> {
        self.tcti.check(rc)
    }
}

impl<T: Tcti> OwnedEsys<T> {
    /// Returns the context for ESYS's functions: valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut ESYS_CONTEXT {
        self.context
    }

    /// Turns the response code of an ESYS call into a result, like [`Esys::check`].
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

    /// Ends ESYS, and returns the transport's context, which is still open.
    pub fn into_context(self) -> Context<T> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: made by `initialize`, and not used again: `this` is not dropped.
        unsafe { Esys_Finalize(&mut this.context) };
        // SAFETY: read once; `this`, which also holds it, is not dropped.
        unsafe { ptr::read(&this.tcti) }
    }
}

// Not derived: that would need `T: Debug`.
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
