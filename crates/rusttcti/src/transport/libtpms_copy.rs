// SPDX-License-Identifier: BSD-2-Clause
//! A TPM in memory that starts from a state file and never writes it:
//! `libtpms-copy:FILE`.
//!
//! Each context has its own TPM. It goes on from the state in the file, and ends with
//! the context. So a test in any language can start from a TPM that was provisioned
//! once, and many tests can run at the same time. FILE is a state file of [`libtpms`]
//! (or of tpm2-tss's module of that name), or swtpm's `tpm2-00.permall` if it is not
//! encrypted.
//!
//! Copies have the template's keys, but draw different random numbers: the generator of
//! each is stirred with the system's entropy. The environment variable
//! `RUSTTCTI_DETERMINISTIC=1` turns this off, for tests that compare keys and nonces: a
//! copy of a suspended TPM then draws the same numbers each time.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::libtpms::{self, Libtpms};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::{Error, ErrorKind, Module, Result, Tcti};

/// If it is 1, the random numbers follow from the template.
const VARIABLE: &str = "RUSTTCTI_DETERMINISTIC";

/// What CONF is.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "",
    value: "FILE",
    default: "",
    text: "The state file to start from. It is read and never written. It may be a state file \
           of libtpms, or swtpm's tpm2-00.permall if it is not encrypted. It must be given.",
}];
const HELP: &Text = &setting::help(SETTINGS);

/// A TPM inside this process that starts from a copy of a state file.
///
/// A test in Rust that starts from a provisioned TPM:
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::transport::libtpms::Libtpms;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// /// Provisions the template, once.
/// fn provision(file: &std::path::Path) -> rusttcti::Result<()> {
///     let mut tpm = Libtpms::builder().path(file).open()?;
///     // ... define indexes, make keys ...
///     tpm.finalize()
/// }
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("template");
/// provision(&file)?;
/// let before = std::fs::read(&file)?;
///
/// // Each test has a TPM of its own.
/// let mut tpm = rusttcti::open(&format!("libtpms-copy:{}", file.display()))?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// let mut response = [0; 4096];
/// assert_eq!(tpm.receive(&mut response, None)?, 28);
/// tpm.finalize()?;
/// assert_eq!(std::fs::read(&file)?, before, "the template stays as it is");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LibtpmsCopy(Libtpms);

impl LibtpmsCopy {
    /// Opens a TPM that starts from this file.
    ///
    /// # Errors
    /// Those of reading the file, and of [opening](libtpms::Builder::open) a TPM
    /// from its bytes.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let state = libtpms::read_state(file)?;
        let deterministic = std::env::var_os(VARIABLE).is_some_and(|value| value == "1");
        let tpm = Libtpms::builder().state(state).deterministic(deterministic);
        let tpm = tpm
            .open()
            .map_err(|error| error.context(format!("no TPM can start from {}", file.display())))?;
        Ok(Self(tpm))
    }
}

impl Module for LibtpmsCopy {
    const NAME: &'static CStr = c"libtpms-copy";
    const DESCRIPTION: &'static CStr =
        c"a TPM in memory, inside this process, that starts from a state file";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        <Self as Configured>::open(&Self::parse(conf)?)
    }
}

impl Configured for LibtpmsCopy {
    /// The file to start from.
    type Config = PathBuf;

    fn parse(conf: Option<&str>) -> Result<PathBuf> {
        match conf {
            Some(file) if !file.is_empty() => Ok(file.into()),
            _ => Err(Error::new(
                ErrorKind::BadValue,
                "libtpms-copy needs the state file to start from (as in libtpms-copy:my.tpm; \
                 libtpms alone is a new TPM)",
            )),
        }
    }

    fn open(file: &PathBuf) -> Result<Self> {
        Self::open(file)
    }
}

impl Tcti for LibtpmsCopy {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.0.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.0)
    }
}
