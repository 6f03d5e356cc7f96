// SPDX-License-Identifier: BSD-2-Clause
//! Finds and loads C modules with tpm2-tss's TCTI loader.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use tss_esapi_sys::{TSS2_TCTI_CONTEXT, TSS2_TCTI_INFO};

use super::foreign_error::{LoadedModule, owned};
use super::last_error::catch;
use super::native::Native;
use super::tctildr::Tctildr;
use crate::chain::LoadModule;
use crate::sys::sigpipe;
use crate::{Error, ErrorKind, Result, Tcti};

/// A module's description of itself (`TSS2_TCTI_INFO`).
///
/// ```no_run
/// let info: rusttcti::TctiInfo = rusttcti::TctiLdr::info("swtpm")?;
/// println!("{}: {} (interface {})", info.name, info.description, info.version);
/// println!("CONF: {}", info.config_help);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TctiInfo {
    /// The version of the TCTI interface.
    pub version: u32,
    /// The module's name.
    pub name: String,
    /// The description, in one line.
    pub description: String,
    /// The syntax of its configuration.
    pub config_help: String,
}

/// A TCTI that `Tss2_TctiLdr` loaded, by name: any module of the C stack. It is
/// closed on drop.
///
/// ```no_run
/// use rusttcti::wire::{CommandBuilder, CommandCode};
/// use rusttcti::{Tcti, TctiLdr};
///
/// assert!(TctiLdr::is_available("swtpm"));
/// let mut tcti = TctiLdr::parse("swtpm:host=localhost,port=2321")?;
/// assert_eq!((tcti.name(), tcti.conf()), ("swtpm", Some("host=localhost,port=2321")));
/// tcti.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// let size = tcti.receive(&mut [0; 4096], None)?;
///
/// let tcti = TctiLdr::new("device", None)?;
/// assert_eq!(tcti.name_conf(), "device");
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct TctiLdr {
    native: Native,
    /// The loader's context; null once it is closed.
    context: *mut TSS2_TCTI_CONTEXT,
    tctildr: Tctildr,
    name: String,
    conf: Option<String>,
}

// SAFETY: the context is used through `native`, which is Send, and the loader's
// finalize depends on no thread.
unsafe impl Send for TctiLdr {}
// SAFETY: `&TctiLdr` exposes the strings, the pointer, and cancellers, which lock.
unsafe impl Sync for TctiLdr {}

impl TctiLdr {
    /// Loads the module `name` (`swtpm`, `libtss2-tcti-swtpm.so.0`, …) with its
    /// configuration. For an empty name, the loader chooses.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a NUL in a string; those of the loader and of the
    /// module's Init function.
    pub fn new(name: &str, conf: Option<&str>) -> Result<Self> {
        let c_name = c_string(name)?;
        let c_conf = conf.map(c_string).transpose()?;
        let tctildr = Tctildr::load()?;
        let module = LoadedModule::of_module(name);
        let mut context = ptr::null_mut();
        // SAFETY: C strings (or NULL) that live during the call, and a place for the
        // pointer.
        catch(module.as_ref(), || unsafe {
            (tctildr.initialize_ex)(
                if name.is_empty() {
                    ptr::null()
                } else {
                    c_name.as_ptr()
                },
                c_conf.as_ref().map_or(ptr::null(), |conf| conf.as_ptr()),
                &mut context,
            )
        })
        .map_err(|error| {
            error.context(match conf {
                Some(conf) => format!("cannot load the TCTI \"{name}:{conf}\""),
                None => format!("cannot load the TCTI \"{name}\""),
            })
        })?;
        // SAFETY: the loader just made it, and it is valid until it is finalized.
        let native = unsafe { Native::from_raw(context) }?.with_module(module);
        Ok(Self {
            native,
            context,
            tctildr,
            name: name.to_owned(),
            conf: conf.map(str::to_owned),
        })
    }

    /// Loads the module of `name:conf`. Without a colon there is no configuration; the
    /// text after the first colon is the configuration, with any further colons.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn parse(name_conf: &str) -> Result<Self> {
        match name_conf.split_once(':') {
            Some((name, conf)) => Self::new(name, Some(conf)),
            None => Self::new(name_conf, None),
        }
    }

    /// Returns the name that it was loaded by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the configuration that it was loaded with.
    pub fn conf(&self) -> Option<&str> {
        self.conf.as_deref()
    }

    /// Returns both, as `name:conf`; the name alone if there is no configuration.
    pub fn name_conf(&self) -> String {
        match &self.conf {
            Some(conf) => format!("{}:{conf}", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns whether the loader finds a module of this name.
    pub fn is_available(name: &str) -> bool {
        Self::info(name).is_ok()
    }

    /// Returns the description of the module of this name.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a NUL in the name; the loader's error if there is no
    /// such module.
    pub fn info(name: &str) -> Result<TctiInfo> {
        let c_name = c_string(name)?;
        let tctildr = Tctildr::load()?;
        let mut info: *mut TSS2_TCTI_INFO = ptr::null_mut();
        // SAFETY: a C string that lives during the call, and a place for the pointer.
        catch(None, || unsafe {
            (tctildr.get_info)(c_name.as_ptr(), &mut info)
        })
        .map_err(|error| error.context(format!("there is no TCTI \"{name}\"")))?;
        // SAFETY: the loader just made it. Its C strings (or NULL) are copied before it
        // is freed.
        unsafe {
            let found = TctiInfo {
                version: (*info).version,
                name: owned((*info).name).unwrap_or_default(),
                description: owned((*info).description).unwrap_or_default(),
                config_help: owned((*info).config_help).unwrap_or_default(),
            };
            (tctildr.free_info)(&mut info);
            Ok(found)
        }
    }

    /// Returns the context for C: valid until this value is dropped.
    pub fn as_ptr(&self) -> *mut TSS2_TCTI_CONTEXT {
        self.context
    }

    fn close(&mut self) {
        if !self.context.is_null() {
            // The loader's finalize calls the module's; a call of our own would be a
            // second one.
            self.native.forget();
            // SAFETY: the loader made it; it sets the pointer to NULL.
            sigpipe::shielded(|| unsafe { (self.tctildr.finalize)(&mut self.context) });
            self.context = ptr::null_mut();
        }
    }
}

/// Loads C modules for a chain. A C program may use the chain, so SIGPIPE is blocked
/// during the modules' calls.
pub(crate) struct Loader;

impl LoadModule for Loader {
    fn load(&self, name: &str, conf: Option<&str>) -> Result<Box<dyn Tcti>> {
        let mut tcti = sigpipe::shielded(|| TctiLdr::new(name, conf))?;
        tcti.native.shield();
        Ok(Box::new(tcti))
    }

    fn is_available(&self, name: &str) -> bool {
        TctiLdr::is_available(name)
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|error| {
        Error::with_source(
            ErrorKind::BadValue,
            format!("{text:?} has a NUL in it"),
            error,
        )
    })
}

impl Tcti for TctiLdr {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.native.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.native.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.native)
    }

    fn finalize(&mut self) -> Result<()> {
        self.close();
        Ok(())
    }
}

impl Drop for TctiLdr {
    fn drop(&mut self) {
        self.close();
    }
}
