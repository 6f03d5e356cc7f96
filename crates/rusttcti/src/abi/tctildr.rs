// SPDX-License-Identifier: BSD-2-Clause
//! tpm2-tss's TCTI loader, libtss2-tctildr.so.0. It is not linked but loaded when a
//! chain names a C module: other chains never need it, and programs that use this
//! library start faster.

use std::ffi::c_char;

use libloading::os::unix::Library;
use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};

use crate::{Error, ErrorKind, Result};

const FILE: &str = "libtss2-tctildr.so.0";

type InitializeEx =
    unsafe extern "C" fn(*const c_char, *const c_char, *mut *mut TSS2_TCTI_CONTEXT) -> TSS2_RC;
type Finalize = unsafe extern "C" fn(*mut *mut TSS2_TCTI_CONTEXT);
type GetInfo = unsafe extern "C" fn(*const c_char, *mut *mut TSS2_TCTI_INFO) -> TSS2_RC;
type FreeInfo = unsafe extern "C" fn(*mut *mut TSS2_TCTI_INFO);

/// The loader's functions, which are valid as long as this value.
#[derive(Debug)]
pub(super) struct Tctildr {
    pub(super) initialize_ex: InitializeEx,
    pub(super) finalize: Finalize,
    pub(super) get_info: GetInfo,
    pub(super) free_info: FreeInfo,
    _library: Library,
}

impl Tctildr {
    /// Loads the library, or shares the copy that the program has loaded.
    pub(super) fn load() -> Result<Self> {
        let missing = |error: libloading::Error| {
            Error::with_source(
                ErrorKind::NotSupported,
                format!(
                    "cannot load {FILE} (Debian package libtss2-tctildr0), which loads C modules"
                ),
                error,
            )
        };
        // SAFETY: tpm2-tss's library, whose constructors have no effect and whose
        // functions have these signatures (tss2_tctildr.h).
        unsafe {
            let library = Library::new(FILE).map_err(missing)?;
            let initialize_ex = library.get::<InitializeEx>(b"Tss2_TctiLdr_Initialize_Ex\0");
            let finalize = library.get::<Finalize>(b"Tss2_TctiLdr_Finalize\0");
            let get_info = library.get::<GetInfo>(b"Tss2_TctiLdr_GetInfo\0");
            let free_info = library.get::<FreeInfo>(b"Tss2_TctiLdr_FreeInfo\0");
            Ok(Self {
                initialize_ex: *initialize_ex.map_err(missing)?,
                finalize: *finalize.map_err(missing)?,
                get_info: *get_info.map_err(missing)?,
                free_info: *free_info.map_err(missing)?,
                _library: library,
            })
        }
    }
}
