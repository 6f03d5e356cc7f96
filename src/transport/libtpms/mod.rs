// SPDX-License-Identifier: BSD-2-Clause
//! A TPM inside this process: libtpms, loaded at run time, one copy of it for
//! each TPM.
//!
//! Without CONF the TPM lives in memory, each context has its own, and it is
//! gone with the context. CONF is the path of a state file, in tpm2-tss's
//! format. A clean close suspends the TPM and the next one who opens the file
//! goes on from there; a crash is a power loss.
//!
//! A software TPM protects nothing against its own user: the state file and
//! the process's memory hold all its keys. Its seeds come from the system's
//! entropy (through OpenSSL).

#![deny(unsafe_code)] // allowed in ffi alone

mod copy;
mod core;
mod fd;
#[allow(unsafe_code)]
mod ffi;
mod file;
mod lock;
mod registry;
mod state;
mod tpm;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::core::Core;
pub use self::core::Startup;
use self::registry::Share;
use self::tpm::Tpm;
use crate::{Error, ErrorKind, Module, Result, Tcti};

/// The transport to a TPM inside this process.
///
/// ```
/// use rusttcti::transport::libtpms::Libtpms;
/// use rusttcti::Tcti;
///
/// let mut tpm = Libtpms::builder().open()?;
/// tpm.transmit(&[0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16])?; // TPM2_GetRandom
/// let mut response = [0; 4096];
/// assert_eq!(tpm.receive(&mut response, None)?, 28);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct Libtpms {
    tpm: Arc<Tpm>,
    /// None for a TPM in memory, or once finalized.
    share: Option<Share>,
    locality: u8,
    /// The response that waits to be received, where `ready`.
    response: Vec<u8>,
    ready: bool,
}

impl Libtpms {
    /// What a TPM can be opened with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The whole state of the TPM, volatile and permanent, as a state file has
    /// it: to be kept, or given to [`Builder::state`] or
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    /// libtpms's own, which leave the TPM as it is.
    pub fn snapshot(&mut self) -> Result<Vec<u8>> {
        self.tpm.with(Core::snapshot)
    }
}

/// What a TPM can be opened with (see [`Libtpms::builder`]). By default it is a
/// new one in memory.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    path: Option<PathBuf>,
    state: Option<Vec<u8>>,
    startup: Startup,
    locality: u8,
}

impl Builder {
    /// Keeps the state in this file, as CONF does.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Starts from the bytes of a state file or of [`Libtpms::snapshot`].
    pub fn state(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// How the TPM is started where it is not running.
    pub fn startup(mut self, startup: Startup) -> Self {
        self.startup = startup;
        self
    }

    /// The locality of the first commands, 0 where nothing is said.
    pub fn locality(mut self, locality: u8) -> Self {
        self.locality = locality;
        self
    }

    /// Opens the TPM.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] where libtpms cannot be loaded,
    /// [`ErrorKind::BadValue`] for a state that it refuses, those of reading
    /// and writing a state file, and [`ErrorKind::IoError`] where another
    /// process uses that.
    pub fn open(self) -> Result<Libtpms> {
        let (tpm, share) = match (&self.path, &self.state) {
            (Some(_), Some(_)) => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    "a TPM is opened from a state file or from bytes, not from both",
                ));
            }
            (Some(path), None) => {
                let (tpm, share) = registry::open(path, self.startup)?;
                (tpm, Some(share))
            }
            (None, state) => {
                let core = Core::open(state.as_deref(), None, self.startup)?;
                (Arc::new(Tpm::new(core)), None)
            }
        };
        Ok(Libtpms {
            tpm,
            share,
            locality: self.locality,
            response: Vec::new(),
            ready: false,
        })
    }
}

impl Module for Libtpms {
    const NAME: &'static CStr = c"libtpms";
    const DESCRIPTION: &'static CStr = c"a TPM inside this process, by libtpms";
    const CONFIG_HELP: &'static CStr =
        c"path of the TPM's state file, which is made if there is none; nothing: a TPM in memory";

    fn init(conf: Option<&str>) -> Result<Self> {
        match conf {
            None | Some("") => Self::builder().open(),
            Some(path) => Self::builder().path(path).open(),
        }
    }
}

impl Tcti for Libtpms {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let response = &mut self.response;
        self.tpm.with(|core| {
            response.clear();
            response.extend_from_slice(core.process(command, self.locality)?);
            Ok(())
        })?;
        self.ready = true;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        if !std::mem::take(&mut self.ready) {
            return Err(Error::new(ErrorKind::BadSequence, "no command was sent"));
        }
        let place = response.get_mut(..self.response.len()).ok_or_else(|| {
            self.ready = true;
            Error::from(ErrorKind::InsufficientBuffer)
        })?;
        place.copy_from_slice(&self.response);
        Ok(place.len())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.locality = locality;
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.tpm.with(Core::reset)
    }

    fn finalize(&mut self) -> Result<()> {
        match self.share.take() {
            Some(share) => share.close(self.tpm.clone()),
            None => Ok(()),
        }
    }
}

impl Drop for Libtpms {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::log::error!("libtpms: {}", error.report());
        }
    }
}
