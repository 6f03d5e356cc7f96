// SPDX-License-Identifier: BSD-2-Clause
//! A safe interface to the functions of one loaded copy of libtpms. All of this
//! transport's `unsafe` is in this folder.
//!
//! libtpms keeps a TPM in its global variables. So there is one TPM for each loaded
//! copy, and one call into it at a time ([`Library`] is used through `&mut`).

mod callbacks;
mod load;
pub(crate) mod openssl;
mod thread_end;

use std::ffi::{c_int, c_uchar};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use self::callbacks::{CALLBACKS, Host, TPM_FAIL};
use self::load::{Handle, Loaded};
pub(super) use self::load::{load_plain, load_private, page_size, use_plain};
use self::openssl::ContextGuard;
use crate::sys::fork;
use crate::{Error, ErrorKind, Result};

/// `TPMLIB_TPM_VERSION_2`.
const TPM_VERSION_2: c_int = 1;
/// `TPM_RESOURCES`: no memory.
pub(super) const TPM_RESOURCES: u32 = 21;
/// The descriptor that libtpms prints to: a number that no descriptor has.
const NOWHERE: c_int = c_int::MAX;

/// The result of a function of libtpms: a value, or its result code.
pub(super) type Called<T> = std::result::Result<T, u32>;

/// The parts of a TPM's state, as `enum TPMLIB_StateType` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Part {
    /// The state that survives a power cycle.
    Permanent = 1,
    /// The other state of a running TPM.
    Volatile = 2,
}

/// Cancels the command that runs in a copy of the library, from any thread.
#[derive(Clone)]
pub(super) struct Canceller(Arc<Loaded>);

impl Canceller {
    /// Sets the flag that long commands look at. Each command clears it when it
    /// begins.
    pub(super) fn cancel(&self) {
        // SAFETY: the library is loaded; the function sets one flag, and is
        // made to be called beside TPMLIB_Process (TPMLIB_CancelCommand(3)).
        unsafe { (self.0.cancel)() };
    }
}

/// One copy of the library: one TPM.
pub(super) struct Library {
    loaded: Arc<Loaded>,
    openssl: Option<ContextGuard>,
    host: Box<Host>,
    /// The command, because libtpms decrypts parameters where they lie.
    command: Vec<u8>,
    /// Reused by each command.
    response: Response,
    running: bool,
}

// SAFETY: libtpms keeps nothing per thread, and this value owns what `response`
// points to.
unsafe impl Send for Library {}

impl Library {
    /// Returns the TPM of a library that was just loaded; it is not running.
    fn new(library: Handle) -> Result<Self> {
        let loaded = Arc::new(Loaded::new(library)?);
        let library = Self {
            openssl: ContextGuard::new()?,
            host: Box::default(),
            command: Vec::new(),
            response: Response::NONE,
            running: false,
            loaded,
        };
        // SAFETY: these take numbers and a pointer to a static that is copied.
        let rc = library.enter(|loaded| unsafe {
            (loaded.set_debug_fd)(NOWHERE);
            match (loaded.choose)(TPM_VERSION_2) {
                0 => (loaded.register)(&CALLBACKS),
                rc => rc,
            }
        });
        if rc != 0 {
            return Err(Error::new(
                ErrorKind::NotSupported,
                format!("this libtpms has no TPM 2 (TPMLIB_ChooseTPMVersion: 0x{rc:x})"),
            ));
        }
        Ok(library)
    }

    /// Makes a call that needs no part of this value mutably.
    fn enter(&self, call: impl FnOnce(&Loaded) -> u32) -> u32 {
        enter(&self.host, self.openssl.as_ref(), || call(&self.loaded))
    }

    /// Returns another use of the OpenSSL context that it computes with, if any.
    pub(super) fn openssl(&self) -> Option<ContextGuard> {
        self.openssl.as_ref().map(ContextGuard::again)
    }

    /// Makes no more calls to OpenSSL for this value: OpenSSL may have cleaned up at
    /// the end of the process. Reading the state needs no OpenSSL.
    pub(super) fn forget_openssl(&mut self) {
        std::mem::forget(self.openssl.take());
    }

    /// Sets the output of libtpms: a file, or none.
    pub(super) fn print_to(&self, file: Option<&OwnedFd>) {
        let fd = file.map_or(NOWHERE, |file| file.as_raw_fd());
        // SAFETY: it takes a number.
        unsafe { (self.loaded.set_debug_fd)(fd) };
    }

    /// Returns the library's version: major, minor, micro.
    pub(super) fn version(&self) -> (u8, u8, u8) {
        // SAFETY: the library is loaded.
        let version = unsafe { (self.loaded.version)() };
        ((version >> 16) as u8, (version >> 8) as u8, version as u8)
    }

    pub(super) fn canceller(&self) -> Canceller {
        Canceller(self.loaded.clone())
    }

    /// Gives a part of the state that the TPM will be powered on with. If that fails,
    /// libtpms drops all parts that were given.
    ///
    /// # Errors
    /// libtpms's result code, if it refuses the bytes.
    pub(super) fn set_state(&mut self, part: Part, state: &[u8]) -> Called<()> {
        let length = u32::try_from(state.len()).map_err(|_| TPM_FAIL)?;
        self.host.has_state.set(true);
        if part == Part::Permanent {
            self.host.permanent.borrow_mut().clear();
        }
        // SAFETY: the bytes are copied during the call.
        let rc = self
            .enter(|loaded| unsafe { (loaded.set_state)(part as c_int, state.as_ptr(), length) });
        if rc == 0 { Ok(()) } else { Err(rc) }
    }

    /// Returns a part of the present state.
    ///
    /// # Errors
    /// libtpms's result code.
    pub(super) fn state(&mut self, part: Part) -> Called<Vec<u8>> {
        let mut data = ptr::null_mut();
        let mut length = 0;
        // SAFETY: two places for the results.
        let get = || unsafe { (self.loaded.get_state)(part as c_int, &mut data, &mut length) };
        // No OpenSSL is needed, also at the end of the process.
        let rc = self.host.called(get);
        if rc != 0 {
            return Err(rc);
        }
        if data.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: after success, `length` bytes from malloc(3), now ours.
        let state = unsafe { std::slice::from_raw_parts(data, length as usize) }.to_vec();
        // SAFETY: from malloc(3), freed once.
        unsafe { libc::free(data.cast()) };
        Ok(state)
    }

    /// Powers the TPM on: with the state that was set, or as a new one.
    ///
    /// # Errors
    /// libtpms's result code.
    pub(super) fn power_on(&mut self) -> Called<()> {
        // It calls srand(3) and rand(3), under a lock of glibc. A child that is forked
        // meanwhile would find that lock taken for ever.
        let rc = fork::without_fork(|| {
            // SAFETY: the library is loaded, and its TPM is off.
            self.enter(|loaded| unsafe { (loaded.main_init)() })
        });
        self.running = true;
        if rc == 0 { Ok(()) } else { Err(rc) }
    }

    /// Powers the TPM off. The volatile state is lost.
    pub(super) fn power_off(&mut self) {
        if std::mem::take(&mut self.running) {
            // SAFETY: the library is loaded, and its TPM is on.
            self.enter(|loaded| {
                unsafe { (loaded.terminate)() };
                0
            });
        }
    }

    /// Returns how often the TPM asked to store its permanent state.
    pub(super) fn stores(&self) -> u64 {
        self.host.stores.get()
    }

    /// Reads the permanent state as the TPM last asked to store it.
    pub(super) fn with_stored<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(&self.host.permanent.borrow())
    }

    /// Runs a command, whose response is then [`response`](Self::response).
    ///
    /// # Errors
    /// libtpms's result code, if there is no response.
    #[inline(always)]
    pub(super) fn process(&mut self, command: &[u8], locality: u8) -> Called<()> {
        self.command.clear();
        if self.command.try_reserve(command.len()).is_err() {
            return Err(TPM_RESOURCES);
        }
        self.command.extend_from_slice(command);
        self.host.locality.set(locality);
        let (bytes, length) = (self.command.as_mut_ptr(), self.command.len());
        let response = &mut self.response;
        let rc = enter(&self.host, self.openssl.as_ref(), || {
            // SAFETY: so many bytes, for libtpms to write to.
            unsafe { response.fill(&self.loaded, bytes, length) }
        });
        if rc == 0 { Ok(()) } else { Err(rc) }
    }

    /// Returns the response to the last command; empty if there is none.
    #[inline]
    pub(super) fn response(&self) -> &[u8] {
        self.response.bytes()
    }
}

/// Makes a call with our OpenSSL context, if there is one, and with the callbacks of
/// this TPM. Fails while another thread ends the process.
#[inline(always)]
fn enter(host: &Host, openssl: Option<&ContextGuard>, call: impl FnOnce() -> u32) -> u32 {
    host.called(|| match openssl {
        Some(openssl) => openssl.enter(call).unwrap_or(TPM_FAIL),
        None => call(),
    })
}

/// A buffer that libtpms puts responses into.
struct Response {
    /// From malloc(3), or NULL; libtpms allocates it, and enlarges it.
    buffer: *mut c_uchar,
    capacity: u32,
    /// 0 if there is no response.
    size: u32,
}

impl Response {
    const NONE: Self = Self {
        buffer: ptr::null_mut(),
        capacity: 0,
        size: 0,
    };

    /// Makes libtpms run a command.
    ///
    /// # Safety
    /// `command` has `length` bytes, for libtpms to write to where it would.
    #[inline(always)]
    unsafe fn fill(&mut self, loaded: &Loaded, command: *mut c_uchar, length: usize) -> u32 {
        let Self {
            buffer,
            capacity,
            size,
        } = self;
        *size = 0;
        // SAFETY: the caller's; a buffer of `capacity` bytes as libtpms wants it.
        let rc = unsafe { (loaded.process)(buffer, size, capacity, command, length as u32) };
        let rc = match rc {
            0 if buffer.is_null() || *size > *capacity => TPM_FAIL,
            rc => rc,
        };
        if rc != 0 {
            *size = 0;
        }
        rc
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.size == 0 {
            return &[];
        }
        // SAFETY: `fill` made sure that there are so many; libtpms touches them
        // in the next command only, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.buffer, self.size as usize) }
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // SAFETY: NULL or from malloc(3), and freed once.
        unsafe { libc::free(self.buffer.cast()) };
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.power_off();
    }
}
