// SPDX-License-Identifier: BSD-2-Clause
//! The options to open an embedded TPM with.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::running_tpm::{Options, RunningTpm, Startup};
use super::shared_tpm::SharedTpm;
use super::{Libtpms, registry};
use crate::contract::tcti::check_locality;
use crate::transport::open_log::Opening;
use crate::{Error, ErrorKind, Result};

/// The options to open a TPM with (see [`Libtpms::builder`]). By default it is a new
/// TPM in memory.
///
/// ```
/// use rusttcti::transport::libtpms::{Libtpms, Startup};
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("tpm.state");
/// let tpm = Libtpms::builder().path(&file).startup(Startup::None).locality(3).open()?;
/// drop(tpm); // suspended, in the file
/// let copy = Libtpms::builder().state(std::fs::read(&file)?).open()?;
/// # drop(copy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    path: Option<PathBuf>,
    state: Option<Vec<u8>>,
    options: Options,
    locality: u8,
}

impl Builder {
    /// Keeps the state in this file, as CONF does. It excludes [`state`](Self::state):
    /// to start a file from a state, write the bytes into the file first.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().to_owned());
        self
    }

    /// Starts a TPM in memory from the bytes of a state file, of [`Libtpms::snapshot`],
    /// or of swtpm's `tpm2-00.permall` if it is not encrypted. It excludes
    /// [`path`](Self::path).
    pub fn state(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Sets how the TPM is started if it is not running.
    pub fn startup(mut self, startup: Startup) -> Self {
        self.options.startup = startup;
        self
    }

    /// Sets whether a TPM that goes on from a suspended state, or from a
    /// [snapshot](Libtpms::snapshot), draws the same random numbers each time. It is
    /// for tests that compare keys, nonces or whole recordings.
    ///
    /// Without it, the TPM's generator is stirred with the system's entropy
    /// (TPM2_StirRandom), because other TPMs may go on from the same state: two TPMs
    /// with the same random numbers make the same "new" keys and nonces. A TPM that was
    /// powered off takes its own entropy in TPM2_Startup, and so does one after
    /// [`reset`](crate::Tcti::reset).
    pub fn deterministic(mut self, deterministic: bool) -> Self {
        self.options.deterministic = deterministic;
        self
    }

    /// Sets the locality of the first commands, 0 to 4 or 32 to 255. The default is 0.
    pub fn locality(mut self, locality: u8) -> Self {
        self.locality = locality;
        self
    }

    /// Opens the TPM.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] if libtpms cannot be loaded; [`ErrorKind::BadValue`]
    /// for a state that it refuses, a locality that no TPM has (5 to 31) or an empty
    /// path; [`ErrorKind::IoError`] if another process uses the state file; those of
    /// reading and writing it.
    pub fn open(self) -> Result<Libtpms> {
        check_locality(self.locality)?;
        let (tpm, share) = match (&self.path, &self.state) {
            (Some(_), Some(_)) => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    "a TPM is opened from a state file or from bytes, not from both",
                ));
            }
            (Some(path), None) if path.as_os_str().is_empty() => {
                return Err(Error::new(
                    ErrorKind::BadValue,
                    "the path of the state file is empty (without one, the TPM is in memory)",
                ));
            }
            (Some(path), None) => {
                let (tpm, share) = registry::open(path, self.options)?;
                (tpm, Some(share))
            }
            (None, state) => {
                let opening = Opening::begin();
                let running = RunningTpm::open(state.as_deref(), None, self.options)?;
                opening.done(|| format!("libtpms: a TPM in memory, {}", running.origin()));
                (Arc::new(SharedTpm::new(running)), None)
            }
        };
        Ok(Libtpms::new(tpm, share, self.locality))
    }
}
