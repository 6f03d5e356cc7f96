// SPDX-License-Identifier: BSD-2-Clause
//! The module as a C program has it: loaded at run time, with contexts in
//! memory of the caller's own.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use libloading::os::unix::Library;
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, size_t};

use super::commands::{get_random, response_code};
use super::module;
use super::vtable::{Vtable, rc};

type Init = unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// The loaded module; unloaded with this value.
pub struct Loaded {
    init: Init,
    last_error: LastError,
    _library: Library,
}

impl Loaded {
    pub fn new() -> Self {
        // SAFETY: our own module, whose functions have these signatures.
        unsafe {
            let library = Library::new(module::file()).expect("the module");
            Self {
                init: *library.get(b"Tss2_Tcti_Rusttcti_Init").expect("Init"),
                last_error: *library
                    .get(b"Tss2_Tcti_Rusttcti_LastError")
                    .expect("LastError"),
                _library: library,
            }
        }
    }

    /// A context of this chain, or what came of it.
    pub fn try_open(&self, chain: &str) -> Result<Opened, (u32, String)> {
        let chain = CString::new(chain).expect("no NUL");
        let mut size = 0;
        // SAFETY: a size, and NULL for "how large".
        let asked = unsafe { (self.init)(ptr::null_mut(), &mut size, ptr::null()) };
        assert_eq!(asked, rc::SUCCESS);
        let mut memory = vec![0_u64; (size as usize).div_ceil(8)];
        let context = memory.as_mut_ptr().cast();
        // SAFETY: memory as large as it wants.
        match unsafe { (self.init)(context, &mut size, chain.as_ptr()) } {
            rc::SUCCESS => Ok(Opened {
                _memory: memory,
                c: Vtable(context),
            }),
            code => Err((code, self.last_error())),
        }
    }

    pub fn open(&self, chain: &str) -> Opened {
        self.try_open(chain)
            .unwrap_or_else(|(code, text)| panic!("{chain}: 0x{code:x}, {text}"))
    }

    /// What this thread's last failure was.
    pub fn last_error(&self) -> String {
        // SAFETY: NULL or a C string, until this thread's next failure.
        unsafe {
            let text = (self.last_error)();
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// A context, finalized with this value.
pub struct Opened {
    pub c: Vtable,
    _memory: Vec<u64>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.c.finalize();
    }
}

impl Opened {
    /// One command: the TCTI's code, and the response where that is success.
    pub fn call(&self, command: &[u8]) -> (u32, Vec<u8>) {
        match self.c.transmit(command) {
            rc::SUCCESS => self.c.receive(60_000),
            code => (code, Vec::new()),
        }
    }

    /// The same, where both codes are to be success.
    pub fn ok(&self, command: &[u8]) -> Vec<u8> {
        let (code, response) = self.call(command);
        assert_eq!(code, rc::SUCCESS, "{command:02x?}");
        assert_eq!(response_code(&response), 0, "{command:02x?}");
        response
    }

    /// True where it brings random bytes.
    pub fn works(&self) -> bool {
        let (code, response) = self.call(&get_random(10));
        code == rc::SUCCESS && response.len() == 22
    }
}
