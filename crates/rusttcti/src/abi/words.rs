// SPDX-License-Identifier: BSD-2-Clause
//! Words for failures of other people's code: a response code in tss2-rc's
//! vocabulary, and the last error of a rusttcti module that is not this copy of
//! the library.

use std::ffi::{CStr, c_char};

use libloading::os::unix::Library;

type Decode = unsafe extern "C" fn(u32) -> *const c_char;
type LastError = unsafe extern "C" fn() -> *const c_char;

/// What libtss2-rc calls a response code; `None` where that library is missing.
pub(super) fn of_code(rc: u32) -> Option<String> {
    // SAFETY: libtss2-rc's constructors and destructors do nothing but its own
    // bookkeeping; the function has this signature (tss2_rc.h), and its text is
    // copied before the library goes.
    unsafe {
        let library = Library::new("libtss2-rc.so.0").ok()?;
        let decode = library.get::<Decode>(b"Tss2_RC_Decode\0").ok()?;
        owned(decode(rc))
    }
}

/// A loaded rusttcti module, for its words on why a call failed.
#[derive(Debug)]
pub(super) struct Peer(Library);

impl Peer {
    /// The module that tctildr loads for `name`, if it is a rusttcti one. It
    /// stays loaded as long as this value, through an Init that fails.
    pub(super) fn of_module(name: &str) -> Option<Self> {
        [
            name.to_owned(),
            format!("libtss2-tcti-{name}.so.0"),
            format!("libtss2-tcti-{name}.so"),
        ]
        .into_iter()
        .find_map(|file| {
            // SAFETY: it is about to be loaded by tctildr all the same.
            unsafe { Library::new(file) }.ok()
        })
        .map(Self)
        .filter(|peer| peer.text().is_some())
    }

    /// What its last call on this thread failed with.
    pub(super) fn text(&self) -> Option<String> {
        // SAFETY: the function's name is this project's own, with this signature.
        unsafe {
            owned(self
                .0
                .get::<LastError>(b"Tss2_Tcti_Rusttcti_LastError\0")
                .ok()?())
        }
    }
}

/// A copy of a C string.
///
/// # Safety
/// NULL, or a C string.
pub(super) unsafe fn owned(text: *const c_char) -> Option<String> {
    // SAFETY: by the contract above.
    (!text.is_null()).then(|| {
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    })
}
