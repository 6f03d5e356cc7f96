// SPDX-License-Identifier: BSD-2-Clause
//! A transport as a module that `Tss2_TctiLdr` and every program can load.

use std::ffi::{CStr, c_char};

use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, TSS2_TCTI_INIT_FUNC, size_t};

use super::c_context::{self, Settings};
use crate::chain::opened_with_warning;
use crate::wire::Header;
use crate::{Module, Result};

/// A `TSS2_TCTI_INFO` that can be a static.
#[doc(hidden)]
#[derive(Debug)]
#[repr(transparent)]
pub struct Info(TSS2_TCTI_INFO);

// SAFETY: it is never written, and its pointers are to static C strings.
unsafe impl Sync for Info {}

impl Info {
    /// Returns the pointer that `Tss2_Tcti_Info` returns.
    pub const fn as_ptr(&'static self) -> *const TSS2_TCTI_INFO {
        &raw const self.0
    }

    pub const fn new(
        name: &'static CStr,
        description: &'static CStr,
        config_help: &'static CStr,
        init: TSS2_TCTI_INIT_FUNC,
    ) -> Self {
        Self(TSS2_TCTI_INFO {
            version: 2,
            name: name.as_ptr(),
            description: description.as_ptr(),
            config_help: config_help.as_ptr(),
            init,
        })
    }
}

/// Returns the info of a module whose Init function is `init`.
#[doc(hidden)]
pub const fn info<M: Module>(init: TSS2_TCTI_INIT_FUNC) -> Info {
    const {
        assert!(
            M::MAX_SIZE >= Header::SIZE,
            "MAX_SIZE is less than the 10 bytes of a response's header"
        );
    }
    Info::new(M::NAME, M::DESCRIPTION, M::CONFIG_HELP, init)
}

/// Runs the whole Init function of an exported module.
///
/// # Safety
/// The C interface's contract: `context` is NULL or memory of `*size` bytes;
/// `size` is NULL or a size; `conf` is NULL or a C string.
#[doc(hidden)]
pub unsafe fn init<M: Module>(
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: this function has the same contract.
    unsafe { init_with(true, context, size, conf, |_, conf| M::init(conf)) }
}

/// Runs the Init function of one of this crate's own transports, which raise no
/// SIGPIPE. A state file with an odd name gets the warning that it gets in a chain.
///
/// # Safety
/// The contract of [`init`].
pub unsafe fn init_own<M: Module>(
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: this function has the same contract.
    unsafe {
        init_with(false, context, size, conf, |name, conf| {
            opened_with_warning(name, conf, || M::init(conf))
        })
    }
}

unsafe fn init_with<M: Module>(
    shielded: bool,
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
    open: impl FnOnce(&str, Option<&str>) -> Result<M>,
) -> TSS2_RC {
    let what = M::NAME.to_str().unwrap_or("init");
    let settings = Settings {
        magic: M::MAGIC,
        max_size: M::MAX_SIZE,
        shielded,
    };
    // SAFETY: this function has the same contract.
    unsafe {
        c_context::init(what, context, size, conf, settings, |conf| {
            Ok(Box::new(open(what, conf)?))
        })
    }
}

/// Makes a crate of `crate-type = ["cdylib"]` a TCTI module. It exports
/// `Tss2_Tcti_Info` and the named Init function, for one [`Module`]. It also exports
/// `Tss2_Tcti_Rusttcti_LastError`, from which [`TctiLdr`](crate::TctiLdr) and C
/// programs read the text of a failure.
///
/// Install the file that cargo builds as `libtss2-tcti-NAME.so.0`: then `-T NAME:CONF`
/// finds it. `make new-module NAME=foo`, in this crate's repository, creates such a
/// crate. Distributions expect a soname in the file; one line of the crate's build.rs
/// sets it:
///
/// ```
/// println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-NAME.so.0");
/// ```
///
/// Cargo passes that line on to the libraries that depend on the crate, and two crates
/// with `export!` do not link into one program ("duplicate symbol: `Tss2_Tcti_Info`").
/// So make the module a separate crate, a cdylib on which no crate depends. A crate
/// that is a library as well puts both behind a feature that is off for its dependents;
/// build its module with `cargo build --features module`:
///
/// ```toml
/// [lib]
/// crate-type = ["cdylib", "rlib"]
///
/// [features]
/// module = []   # in build.rs: if env::var_os("CARGO_FEATURE_MODULE").is_some() { … }
/// ```
///
/// ```
/// #[cfg(feature = "module")]
/// rusttcti::export!(MyTransport, Tss2_Tcti_MyTransport_Init);
/// ```
///
/// A panic is caught only if it unwinds: leave the profile's `panic` at `"unwind"`.
/// With `"abort"` a panic ends the program that loaded the module.
///
/// A whole module, after its transport:
///
/// ```
/// # use std::{ffi::CStr, time::Duration};
/// # use rusttcti::{Module, Result, Tcti};
/// # struct MyTransport;
/// # impl Tcti for MyTransport {
/// #     fn transmit(&mut self, _: &[u8]) -> Result<()> { Ok(()) }
/// #     fn receive(&mut self, _: &mut [u8], _: Option<Duration>) -> Result<usize> { Ok(0) }
/// # }
/// # impl Module for MyTransport {
/// #     const NAME: &'static CStr = c"mytransport";
/// #     const DESCRIPTION: &'static CStr = c"";
/// #     const CONFIG_HELP: &'static CStr = c"";
/// #     fn init(_: Option<&str>) -> Result<Self> { Ok(Self) }
/// # }
/// /// rusttcti::export!(MyTransport, Tss2_Tcti_MyTransport_Init);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($module:ty, $init:ident) => {
        /// Initialises a context of this TCTI (see `TSS2_TCTI_INIT_FUNC`).
        ///
        /// # Safety
        /// `context` is NULL or memory of `*size` bytes; `size` is NULL or a
        /// size; `conf` is NULL or a C string.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub unsafe extern "C" fn $init(
            context: *mut $crate::__private::TSS2_TCTI_CONTEXT,
            size: *mut $crate::__private::size_t,
            conf: *const ::core::ffi::c_char,
        ) -> $crate::__private::TSS2_RC {
            // SAFETY: the caller has the same contract.
            unsafe { $crate::__private::init::<$module>(context, size, conf) }
        }

        /// Returns the description of this TCTI (see `TSS2_TCTI_INFO_FUNC`).
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn Tss2_Tcti_Info() -> *const $crate::__private::TSS2_TCTI_INFO {
            static INFO: $crate::__private::Info =
                $crate::__private::info::<$module>(::core::option::Option::Some($init));
            INFO.as_ptr()
        }

        /// Returns the error of this thread's last failed call of this module, as a
        /// sentence; empty if no call has failed.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn Tss2_Tcti_Rusttcti_LastError() -> *const ::core::ffi::c_char {
            $crate::__private::last_text()
        }
    };
}
