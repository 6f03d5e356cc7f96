// SPDX-License-Identifier: BSD-2-Clause
//! Records all commands and responses in a pcapng file, which Wireshark and
//! tshark read as TPM traffic: `pcap[,file=PATH]:CHILD`.
//!
//! The packets have the shape of tpm2-tss's own `pcap`: a TCP conversation with
//! port 2321 over IPv4, each command and each response a segment, addresses and
//! sequence numbers at random for each context. Recordings are appended, as
//! sections of their own. Each packet is one write(2): nothing is buffered that
//! a crash could lose or a forked child could write again.
//!
//! The file is that of `file=`, else that of the variable `TCTI_PCAP_FILE` (an
//! empty one counts as none), else `tpm2_log.pcap` in the current folder. Each
//! `%p` in its name becomes the process's id; `-` and `stdout` are the program's
//! standard output, `stderr` is its standard error.

#![forbid(unsafe_code)]

mod frames;
mod output;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use self::frames::{Direction, Frames};
use self::output::Output;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::{Error, ErrorKind, Result, Tcti};

/// The variable that names the file where no option does, as tpm2-tss has it.
const VARIABLE: &str = "TCTI_PCAP_FILE";
/// The file where nothing names one.
const DEFAULT_FILE: &str = "tpm2_log.pcap";

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "file",
    value: "PATH",
    default: "$TCTI_PCAP_FILE, then tpm2_log.pcap",
    text: "The file or named pipe for the recording. A file is appended to. A new file is for \
           its user alone (mode 0600). Each %p in the path becomes the process's ID; \"-\" and \
           \"stdout\" are the program's standard output, \"stderr\" is its standard error. It \
           must not be empty; an empty TCTI_PCAP_FILE counts as none.",
}];

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let name = name(options.take("file"))?;
    Ok(Box::new(move |mut below| {
        match output(&name).and_then(Frames::new) {
            Ok(frames) => Ok(Box::new(Pcap::over(below, frames))),
            Err(error) => {
                close_quietly(&mut below);
                Err(error)
            }
        }
    }))
}

/// Opens the file of this name.
fn output(name: &OsStr) -> Result<Output> {
    match name.to_str() {
        Some("-" | "stdout") => Output::stdout(),
        Some("stderr") => Output::stderr(),
        Some(text) => Output::append(text.replace("%p", &std::process::id().to_string())),
        None => Output::append(name),
    }
}

/// Returns the name of the file, in which `%p` is not replaced yet.
fn name(file: Option<String>) -> Result<OsString> {
    Ok(match file {
        Some(file) if file.is_empty() => {
            return Err(Error::new(
                ErrorKind::BadValue,
                "the layer pcap: file= names no file (leave it out for tpm2_log.pcap)",
            ));
        }
        Some(file) => file.into(),
        None => std::env::var_os(VARIABLE)
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| DEFAULT_FILE.into()),
    })
}

/// The child of a layer that could not be opened: its failure is no news.
fn close_quietly(inner: &mut impl Tcti) {
    if let Err(error) = inner.finalize() {
        crate::sys::log::debug!("pcap: closing what was to be recorded: {}", error.report());
    }
}

/// A [`Tcti`] that records what goes through it.
///
/// What cannot be written later (a full disk) is left out of the recording with
/// a warning in the log; no command ever fails for it.
///
/// ```
/// use rusttcti::layer::pcap::Pcap;
/// use rusttcti::transport::null::Null;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("tpm.pcapng");
/// let recorded = Pcap::new(Null::default(), &path)?;
/// # drop(recorded);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pcap<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    /// None once finalized.
    frames: Option<Frames>,
}

impl<T: Tcti> Pcap<T> {
    /// Records what goes through `inner` in a file, which is appended to. One
    /// that isn't there yet is created, for its user alone (mode 0600): TPM
    /// traffic holds secrets.
    ///
    /// # Errors
    /// Those of opening the file and of writing its first two blocks, named
    /// after the file. `inner` is finalized then.
    pub fn new(mut inner: T, path: impl AsRef<Path>) -> Result<Self> {
        match Output::append(path.as_ref()).and_then(Frames::new) {
            Ok(frames) => Ok(Self::over(inner, frames)),
            Err(error) => {
                close_quietly(&mut inner);
                Err(error)
            }
        }
    }

    fn over(inner: T, frames: Frames) -> Self {
        Self {
            inner,
            frames: Some(frames),
        }
    }

    fn record(&mut self, direction: Direction, payload: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.record(direction, payload);
        }
    }
}

impl<T: Tcti> Tcti for Pcap<T> {
    /// The command is recorded first, so that one that ends the process, or
    /// cannot be sent, is on file.
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.record(Direction::ToTpm, command);
        self.inner.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let length = self.inner.receive(response, timeout)?;
        if let Some(response) = response.get(..length) {
            self.record(Direction::FromTpm, response);
        }
        Ok(length)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    fn finalize(&mut self) -> Result<()> {
        self.frames = None;
        self.inner.finalize()
    }
}
