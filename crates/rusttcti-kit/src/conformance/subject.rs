// SPDX-License-Identifier: BSD-2-Clause
//! The TCTI under test: a module that is loaded by name, the module that this crate
//! exports, or a transport in Rust behind the bridge.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use libloading::os::unix::Library;
use rusttcti::{Context, Error, ErrorKind, Result, Tcti};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO, size_t};

use super::NotPassed;
use crate::vtable::Vtable;

/// A module's Init function (`TSS2_TCTI_INIT_FUNC`).
pub(crate) type Init =
    unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const c_char) -> u32;

type Open = dyn Fn() -> Result<Box<dyn Tcti>>;

/// The TCTI under test.
pub struct Subject {
    name: String,
    source: Source,
    /// The configuration that reaches a peer made by the checks; `{}` stands for
    /// `host=HOST,port=PORT`.
    pub(crate) peer_conf: Option<String>,
    /// Runs before each check.
    before_each: Option<Box<dyn Fn()>>,
}

enum Source {
    Module(Module),
    Transport(Box<Open>),
}

/// A loaded module.
pub(crate) struct Module {
    pub(crate) info: *const TSS2_TCTI_INFO,
    pub(crate) init: Init,
    pub(crate) conf: Option<CString>,
    /// `None` for a module that is linked into this program.
    _library: Option<Library>,
}

impl Subject {
    /// Loads the module that tctildr finds as `NAME:CONF`: a file, or
    /// `libtss2-tcti-NAME.so.0`.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] if there is no such module, or it has no
    /// `Tss2_Tcti_Info`.
    pub fn module(name_conf: &str) -> Result<Self> {
        let (name, conf) = match name_conf.split_once(':') {
            Some((name, conf)) => (name, Some(conf)),
            None => (name_conf, None),
        };
        let files = [
            name.to_owned(),
            format!("libtss2-tcti-{name}.so.0"),
            format!("libtss2-tcti-{name}.so"),
        ];
        // SAFETY: a TCTI module, whose constructors are its author's responsibility.
        let library = files
            .iter()
            .find_map(|file| unsafe { Library::new(file) }.ok());
        let library = library.ok_or_else(|| {
            Error::new(
                ErrorKind::BadValue,
                format!("there is no TCTI module \"{name}\""),
            )
        })?;
        // SAFETY: the function that every module has, by the specification.
        let info = unsafe {
            let get = library
                .get::<unsafe extern "C" fn() -> *const TSS2_TCTI_INFO>(b"Tss2_Tcti_Info\0")
                .map_err(|error| Error::new(ErrorKind::BadValue, error))?;
            get()
        };
        Self::of_info(name_conf, info, conf, Some(library))
    }

    /// Takes the module that `rusttcti::export!` makes of this crate, by the function
    /// `Tss2_Tcti_Info` that it exports. `conf` is the module's configuration; `None` is
    /// NULL in C.
    pub fn exported(info: extern "C" fn() -> *const TSS2_TCTI_INFO, conf: Option<&str>) -> Self {
        let name = conf.unwrap_or("the exported module");
        Self::of_info(name, info(), conf, None).expect("a module that export! made")
    }

    fn of_info(
        name: &str,
        info: *const TSS2_TCTI_INFO,
        conf: Option<&str>,
        library: Option<Library>,
    ) -> Result<Self> {
        // SAFETY: a static of the module, or NULL.
        let init = unsafe { info.as_ref() }.and_then(|info| info.init);
        let init = init.ok_or_else(|| {
            Error::new(
                ErrorKind::BadValue,
                format!("the module \"{name}\" has no Init function"),
            )
        })?;
        let conf = conf.map(|conf| CString::new(conf).expect("a configuration has no NUL"));
        Ok(Self {
            name: name.to_owned(),
            source: Source::Module(Module {
                info,
                init,
                conf,
                _library: library,
            }),
            peer_conf: None,
            before_each: None,
        })
    }

    /// Takes a transport, or a whole chain, in Rust; `open` makes a new one for each
    /// context.
    pub fn transport<T: Tcti + 'static>(open: impl Fn() -> Result<T> + 'static) -> Self {
        Self {
            name: std::any::type_name::<T>().to_owned(),
            source: Source::Transport(Box::new(move || Ok(Box::new(open()?)))),
            peer_conf: None,
            before_each: None,
        }
    }

    /// Enables the checks with hostile peers. `conf` is the module's configuration for
    /// a peer that speaks swtpm's protocol, with `{}` for `host=HOST,port=PORT`.
    #[must_use]
    pub fn with_peers(mut self, conf: &str) -> Self {
        self.peer_conf = Some(conf.to_owned());
        self
    }

    /// Runs `renew` before each check, in the process that starts the checks. A peer
    /// that keeps something between contexts begins anew there, so that what one check
    /// left behind, such as a cancel, fails no other check.
    #[must_use]
    pub fn with_renewal(mut self, renew: impl Fn() + 'static) -> Self {
        self.before_each = Some(Box::new(renew));
        self
    }

    /// Runs what [`with_renewal`](Self::with_renewal) was given.
    pub(crate) fn renew(&self) {
        if let Some(renew) = &self.before_each {
            renew();
        }
    }

    /// Returns the name that it was given by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the module; the checks of Init functions apply to no other subject.
    pub(crate) fn as_module(&self) -> std::result::Result<&Module, NotPassed> {
        match &self.source {
            Source::Module(module) => Ok(module),
            Source::Transport(_) => Err(NotPassed::NotApplicable(
                "a transport in Rust has no Init function of its own".to_owned(),
            )),
        }
    }

    /// Opens a context while `first` is open; returns both. Not applicable if it opens
    /// only without `first`: the TPM then serves one context at a time.
    pub(crate) fn open_beside(
        &self,
        first: Opened,
    ) -> std::result::Result<(Opened, Opened), NotPassed> {
        match self.open() {
            Ok(second) => Ok((first, second)),
            Err(NotPassed::Broken(text)) => {
                drop(first);
                drop(self.open()?);
                let reason = format!("the TPM serves one context at a time: {text}");
                Err(NotPassed::NotApplicable(reason))
            }
            Err(other) => Err(other),
        }
    }

    /// Opens a context.
    pub(crate) fn open(&self) -> std::result::Result<Opened, NotPassed> {
        match &self.source {
            Source::Module(module) => module
                .open(module.conf.as_deref())
                .map_err(|rc| NotPassed::Broken(format!("the context does not open (0x{rc:x})"))),
            Source::Transport(open) => match open() {
                Ok(tcti) => Ok(Opened::of_transport(tcti)),
                Err(error) => Err(NotPassed::Broken(format!(
                    "the transport does not open: {}",
                    error.report()
                ))),
            },
        }
    }
}

impl Module {
    /// Returns CONF as C takes it: NULL if there is none.
    pub(crate) fn conf_pointer(&self) -> *const c_char {
        self.conf.as_ref().map_or(ptr::null(), |conf| conf.as_ptr())
    }

    /// Opens a context from `conf`, in memory aligned as by malloc.
    pub(crate) fn open(&self, conf: Option<&CStr>) -> std::result::Result<Opened, u32> {
        let mut size: size_t = 0;
        let conf = conf.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: a NULL context asks for the size, as tctildr does, with its CONF.
        let rc = unsafe { (self.init)(ptr::null_mut(), &mut size, conf) };
        if rc != 0 {
            return Err(rc);
        }
        let mut memory = vec![0_u128; (size as usize).div_ceil(16)];
        let context = memory.as_mut_ptr().cast::<TSS2_TCTI_CONTEXT>();
        // SAFETY: memory of the size that the module asked for; NULL or a C string.
        let rc = unsafe { (self.init)(context, &mut size, conf) };
        match rc {
            0 => Ok(Opened {
                c: Vtable(context),
                _memory: memory,
                context: None,
                finalized: false,
            }),
            rc => Err(rc),
        }
    }
}

/// An open context, finalized when this is dropped.
pub(crate) struct Opened {
    /// The context as C uses it.
    pub(crate) c: Vtable,
    /// The memory of a module's context.
    _memory: Vec<u128>,
    /// The context around a transport in Rust.
    context: Option<Context<Box<dyn Tcti>>>,
    finalized: bool,
}

impl Opened {
    fn of_transport(tcti: Box<dyn Tcti>) -> Self {
        let context = Context::new(tcti);
        Self {
            c: Vtable(context.as_ptr()),
            _memory: Vec::new(),
            context: Some(context),
            finalized: false,
        }
    }

    /// Finalizes the context now; its memory is kept.
    pub(crate) fn finalize(&mut self) {
        self.finalized = true;
        self.c.finalize();
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if self.context.is_none() && !self.finalized {
            self.c.finalize();
        }
    }
}
