// SPDX-License-Identifier: BSD-2-Clause
//! The module as a C program uses it: loaded at run time, with contexts in the caller's
//! own memory.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use libloading::os::unix::Library;
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

use super::commands::{get_random, response_code};
use super::module;
use super::vtable::{Vtable, rc};

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// The loaded module; dropping it unloads the module.
pub struct Loaded {
    init: Init,
    last_error: LastError,
    _library: Library,
}

impl Loaded {
    /// Loads the module, to open chains.
    pub fn new() -> Self {
        Self::by("Tss2_Tcti_Rusttcti_Init")
    }

    /// Loads the module, to open contexts by this Init function; a chain is then what
    /// the function takes as its configuration.
    pub fn by(init: &str) -> Self {
        // SAFETY: our own module, whose functions have these signatures.
        unsafe {
            let library = Library::new(module::file()).expect("the module");
            Self {
                init: *library.get(init.as_bytes()).expect("an Init function"),
                last_error: *library
                    .get(b"Tss2_Tcti_Rusttcti_LastError")
                    .expect("LastError"),
                _library: library,
            }
        }
    }

    /// Opens a context of this chain, or returns the response code and the last error.
    pub fn try_open(&self, chain: &str) -> Result<Opened, (u32, String)> {
        let chain = CString::new(chain).expect("no NUL");
        let mut size = 0;
        // SAFETY: a size, and NULL to ask for it.
        let asked = unsafe { (self.init)(ptr::null_mut(), &mut size, ptr::null()) };
        assert_eq!(asked, rc::SUCCESS);
        let mut memory = vec![0_u64; (size as usize).div_ceil(8)];
        let context = memory.as_mut_ptr().cast();
        // SAFETY: the memory has the size that the module asked for.
        match unsafe { (self.init)(context, &mut size, chain.as_ptr()) } {
            rc::SUCCESS => Ok(Opened {
                _memory: memory,
                c: Vtable(context),
            }),
            code => Err((code, self.last_error())),
        }
    }

    /// Opens a context of this chain; panics if that fails.
    pub fn open(&self, chain: &str) -> Opened {
        self.try_open(chain)
            .unwrap_or_else(|(code, text)| panic!("{chain}: 0x{code:x}, {text}"))
    }

    /// Returns this thread's last failure.
    pub fn last_error(&self) -> String {
        // SAFETY: NULL or a C string, valid until this thread's next failure.
        unsafe {
            let text = (self.last_error)();
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// An open context, finalized when this is dropped.
pub struct Opened {
    /// The context's functions.
    pub c: Vtable,
    _memory: Vec<u64>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.c.finalize();
    }
}

impl Opened {
    /// Runs one command; returns the TCTI's code, and the response if that is success.
    pub fn call(&self, command: &[u8]) -> (u32, Vec<u8>) {
        match self.c.transmit(command) {
            rc::SUCCESS => self.c.receive(60_000),
            code => (code, Vec::new()),
        }
    }

    /// Runs one command, and asserts that both codes are success.
    pub fn ok(&self, command: &[u8]) -> Vec<u8> {
        let (code, response) = self.call(command);
        assert_eq!(code, rc::SUCCESS, "{command:02x?}");
        assert_eq!(response_code(&response), 0, "{command:02x?}");
        response
    }

    /// Returns whether the TPM returns random bytes.
    pub fn works(&self) -> bool {
        let (code, response) = self.call(&get_random(10));
        code == rc::SUCCESS && response.len() == 22
    }
}
