// SPDX-License-Identifier: BSD-2-Clause
//! A transport as a module that `Tss2_TctiLdr` and every program can load.

use std::ffi::{CStr, c_char};

use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, TSS2_TCTI_INIT_FUNC, size_t};

use super::blob::{self, Settings};
use crate::header::Header;
use crate::{Error, ErrorKind, Result, Tcti};

/// The magic value of a TCTI: up to eight bytes that tell its contexts from
/// those of others.
///
/// ```
/// use rusttcti::Magic;
///
/// const MAGIC: Magic = Magic::new(b"COOL");
/// assert_eq!(MAGIC.number(), 0x434f_4f4c);
/// assert_eq!(MAGIC.as_bytes(), b"COOL");
/// assert_eq!(Magic::try_new(b"NINEBYTES"), None);
/// assert!(Magic::try_from(&b"NINEBYTES"[..]).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Magic {
    bytes: [u8; 8],
    len: u8,
}

impl Magic {
    /// The magic of these bytes.
    ///
    /// # Panics
    /// If they are more than eight: at compile time for a constant.
    pub const fn new(bytes: &[u8]) -> Self {
        match Self::try_new(bytes) {
            Some(magic) => magic,
            None => panic!("a TCTI's magic has at most 8 bytes"),
        }
    }

    /// The magic of these bytes; `None` if they are more than eight.
    pub const fn try_new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > 8 {
            return None;
        }
        let mut magic = Self {
            bytes: [0; 8],
            len: bytes.len() as u8,
        };
        let mut at = 0;
        while at < bytes.len() {
            magic.bytes[at] = bytes[at];
            at += 1;
        }
        Some(magic)
    }

    /// The bytes, as many as were given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes read as one big-endian number, as the C struct holds it.
    pub const fn number(self) -> u64 {
        let mut number = 0;
        let mut at = 0;
        while at < self.len as usize {
            number = number << 8 | self.bytes[at] as u64;
            at += 1;
        }
        number
    }
}

impl std::fmt::Debug for Magic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Magic(\"{}\")", self.as_bytes().escape_ascii())
    }
}

/// A transport that is opened from a configuration string, and can be a module
/// of its own (see [`export!`](crate::export)).
///
/// ```
/// use std::ffi::CStr;
/// use std::time::Duration;
///
/// use rusttcti::{Error, ErrorKind, Magic, Module, Result, Tcti};
///
/// struct Echo(Vec<u8>);
///
/// impl Tcti for Echo {
///     fn transmit(&mut self, command: &[u8]) -> Result<()> {
///         self.0 = command.to_vec();
///         Ok(())
///     }
///
///     fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
///         response[..self.0.len()].copy_from_slice(&self.0);
///         Ok(self.0.len())
///     }
/// }
///
/// impl Module for Echo {
///     const NAME: &'static CStr = c"echo";
///     const DESCRIPTION: &'static CStr = c"says what it hears";
///     const CONFIG_HELP: &'static CStr = c"there is nothing to configure";
///     const MAGIC: Magic = Magic::new(b"ECHO");
///
///     fn init(conf: Option<&str>) -> Result<Self> {
///         match conf {
///             None | Some("") => Ok(Self(Vec::new())),
///             Some(conf) => Err(Error::new(
///                 ErrorKind::BadValue,
///                 format!("\"{conf}\" is no configuration (it takes none)"),
///             )),
///         }
///     }
/// }
/// assert!(Echo::init(Some("loud")).is_err());
/// ```
pub trait Module: Tcti + Sized + 'static {
    /// The name that users give, as in `-T NAME:CONF`.
    const NAME: &'static CStr;
    /// What it is, in a line.
    const DESCRIPTION: &'static CStr;
    /// What CONF may be, in a line: users and programs read it.
    const CONFIG_HELP: &'static CStr;
    /// The magic value of its contexts.
    const MAGIC: Magic = Magic::new(b"RUSTTCTI");
    /// The size of the largest response in bytes: how long the buffer of
    /// [`receive`](Tcti::receive) is, which each context has from the beginning.
    /// TPMs mostly have 4096; fewer than a header's 10 don't compile.
    const MAX_SIZE: usize = 4096;

    /// Opens the transport, once for each context; a caller who only asks for
    /// the context's size opens nothing. `conf` is what stands behind the name's
    /// colon, colons and commas included; `None` where there is no colon, and
    /// where tpm2-tss's loader finds nothing behind it. How it is written is the
    /// module's own choice.
    ///
    /// # Errors
    /// Any; no context is made then. The log puts NAME in front of the
    /// sentence: let it name the value and the remedy, and not the module.
    fn init(conf: Option<&str>) -> Result<Self>;
}

/// A `TSS2_TCTI_INFO` that can be a static.
#[doc(hidden)]
#[derive(Debug)]
#[repr(transparent)]
pub struct Info(TSS2_TCTI_INFO);

// SAFETY: it is never written, and its pointers are to static C strings.
unsafe impl Sync for Info {}

impl Info {
    /// What `Tss2_Tcti_Info` returns.
    pub const fn as_ptr(&'static self) -> *const TSS2_TCTI_INFO {
        &raw const self.0
    }

    pub(crate) const fn new(
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

/// The info of a module whose Init function is `init`.
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

/// The whole of an exported module's Init function.
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
    // SAFETY: passed on to the caller.
    unsafe { init_with::<M>(true, context, size, conf) }
}

/// The same of one of this crate's own transports, which raise no SIGPIPE.
///
/// # Safety
/// As for [`init`].
#[cfg(feature = "capi")]
pub(crate) unsafe fn init_own<M: Module>(
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
) -> TSS2_RC {
    // SAFETY: passed on to the caller.
    unsafe { init_with::<M>(false, context, size, conf) }
}

unsafe fn init_with<M: Module>(
    shielded: bool,
    context: *mut TSS2_TCTI_CONTEXT,
    size: *mut size_t,
    conf: *const c_char,
) -> TSS2_RC {
    let what = M::NAME.to_str().unwrap_or("init");
    let settings = Settings {
        magic: M::MAGIC,
        max_size: M::MAX_SIZE,
        shielded,
    };
    // SAFETY: passed on to the caller.
    unsafe {
        blob::init(what, context, size, conf, settings, |conf| {
            let module = M::init(conf)?;
            Ok(Box::new(module))
        })
    }
}

/// Makes a crate of `crate-type = ["cdylib"]` a TCTI module: exports
/// `Tss2_Tcti_Info` and the Init function named, for one [`Module`]; and
/// `Tss2_Tcti_Rusttcti_LastError`, by which [`TctiLdr`](crate::TctiLdr) and C
/// programs get the words of a failure.
///
/// The file that cargo builds, installed as `libtss2-tcti-NAME.so.0`, is found
/// by `-T NAME:CONF`. `make new-module NAME=foo`, in this crate's repository,
/// makes such a crate. The soname that distributions want in it is one line of
/// the crate's build.rs:
///
/// ```
/// println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libtss2-tcti-NAME.so.0");
/// ```
///
/// Cargo hands that line on to the libraries that depend on the crate, and two
/// crates with `export!` in one program don't link ("duplicate symbol:
/// `Tss2_Tcti_Info`"). So let the module be a crate of its own, a cdylib that
/// nothing depends on. A crate that is a library too puts both behind a feature
/// that is off for its dependents, and is built by `cargo build --features module`:
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
/// A panic is caught where it unwinds: leave the profile's `panic` at `"unwind"`.
/// With `"abort"` it ends the program that loaded the module.
///
/// The whole of it, behind a transport:
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
/// # #[cfg(not(feature = "capi"))]
/// rusttcti::export!(MyTransport, Tss2_Tcti_MyTransport_Init);
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
            // SAFETY: the caller's contract is the same.
            unsafe { $crate::__private::init::<$module>(context, size, conf) }
        }

        /// What this TCTI is (see `TSS2_TCTI_INFO_FUNC`).
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn Tss2_Tcti_Info() -> *const $crate::__private::TSS2_TCTI_INFO {
            static INFO: $crate::__private::Info =
                $crate::__private::info::<$module>(::core::option::Option::Some($init));
            INFO.as_ptr()
        }

        /// What this thread's last failed call of this module failed with, as a
        /// sentence; empty if none has failed.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case)]
        pub extern "C" fn Tss2_Tcti_Rusttcti_LastError() -> *const ::core::ffi::c_char {
            $crate::__private::last_text()
        }
    };
}

/// The magic of eight bytes or fewer, where they are not known before run time.
impl TryFrom<&[u8]> for Magic {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        Self::try_new(bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::BadValue,
                format!("a magic of {} bytes (it has at most 8)", bytes.len()),
            )
        })
    }
}
