// SPDX-License-Identifier: BSD-2-Clause
//! The texts of errors in other libraries: the text of tss2-rc for a response code, and
//! the last error of a rusttcti module that is another copy of this library.

use std::ffi::{CStr, c_char};

use libloading::os::unix::Library;

type Decode = unsafe extern "C" fn(u32) -> *const c_char;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// Returns the text of libtss2-rc for a response code; `None` if that library is
/// missing.
pub(super) fn of_code(rc: u32) -> Option<String> {
    // SAFETY: libtss2-rc's constructors and destructors only manage its own state. The
    // function has this signature (tss2_rc.h), and its text is copied before the
    // library is unloaded.
    unsafe {
        let library = Library::new("libtss2-rc.so.0").ok()?;
        let decode = library.get::<Decode>(b"Tss2_RC_Decode\0").ok()?;
        owned(decode(rc))
    }
}

/// A loaded rusttcti module, which is asked for the reason of a failed call.
#[derive(Debug)]
pub(super) struct LoadedModule(Library);

impl LoadedModule {
    /// Returns the module that tctildr loads for `name`, if it is a rusttcti module. It
    /// stays loaded as long as this value, through an Init that fails.
    pub(super) fn of_module(name: &str) -> Option<Self> {
        [
            name.to_owned(),
            format!("libtss2-tcti-{name}.so.0"),
            format!("libtss2-tcti-{name}.so"),
        ]
        .into_iter()
        .find_map(|file| {
            // SAFETY: tctildr is about to load it as well.
            unsafe { Library::new(file) }.ok()
        })
        .map(Self)
        .filter(|module| module.text().is_some())
    }

    /// Returns the error of its last call on this thread.
    pub(super) fn text(&self) -> Option<String> {
        // SAFETY: the function's name is this project's own, and its signature is
        // fixed.
        unsafe {
            owned(self
                .0
                .get::<LastError>(b"Tss2_Tcti_Rusttcti_LastError\0")
                .ok()?())
        }
    }
}

/// Copies a C string.
///
/// # Safety
/// `text` is NULL or a C string.
pub(super) unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: by the contract above.
    (!text.is_null()).then(|| {
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    })
}
