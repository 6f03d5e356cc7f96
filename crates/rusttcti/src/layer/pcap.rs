// SPDX-License-Identifier: BSD-2-Clause
//! Records all commands and responses in a pcapng file, which Wireshark and tshark read
//! as TPM traffic: `pcap[,file=PATH]:CHILD`.
//!
//! The packets have the format of tpm2-tss's own `pcap`: a TCP conversation with port
//! 2321 over IPv4. Each command and each response is one segment; addresses and
//! sequence numbers are random for each context. Recordings are appended to the file as
//! separate sections. Each packet is one write(2): no data is buffered that a crash
//! could lose or a forked child could write again.
//!
//! The file is that of `file=`, else that of the variable `TCTI_PCAP_FILE` (an empty
//! one counts as unset), else `tpm2_log.pcap` in the current folder. Each `%p` in its
//! name is replaced by the process's id; `-` and `stdout` are the program's standard
//! output, `stderr` is its standard error.

#![forbid(unsafe_code)]

mod frames;
mod output;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use self::frames::{Direction, Frames};
use self::output::Output;
use super::opening::close_after;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::{Error, ErrorKind, Result, Tcti};

/// The variable that names the file if no option does, as in tpm2-tss.
const VARIABLE: &str = "TCTI_PCAP_FILE";
/// The file if neither an option nor the variable names one.
const DEFAULT_FILE: &str = "tpm2_log.pcap";

/// The options.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "file",
    value: "PATH",
    default: "$TCTI_PCAP_FILE, then tpm2_log.pcap",
    text: "The file or named pipe for the recording. A file is appended to. A new file is for \
           its user alone (mode 0600). Each %p in the path becomes the process's ID; \"-\" and \
           \"stdout\" are the program's standard output, \"stderr\" is its standard error. It \
           must not be empty; an empty TCTI_PCAP_FILE counts as none.",
}];

/// Parses the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let name = name(options.take("file"))?;
    Ok(Box::new(move |below| {
        match output(&name).and_then(Frames::new) {
            Ok(frames) => Ok(Box::new(Pcap::over(below, frames))),
            Err(error) => Err(close_after("pcap", below, error)),
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

/// Returns the name of the file, before `%p` is replaced.
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

/// A [`Tcti`] that records all commands and responses that pass through it.
///
/// A packet that cannot be written later (a full disk) is left out of the recording,
/// with a warning in the log; no command fails because of it.
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
    /// The recording; `None` once finalized.
    frames: Option<Frames>,
}

impl<T: Tcti> Pcap<T> {
    /// Records the traffic of `inner` in a file, which is appended to. A new file is
    /// readable by its user only (mode 0600): TPM traffic holds secrets.
    ///
    /// # Errors
    /// Those of opening the file and of writing its first two blocks, with the file's
    /// name. `inner` is finalized then.
    pub fn new(inner: T, path: impl AsRef<Path>) -> Result<Self> {
        match Output::append(path.as_ref()).and_then(Frames::new) {
            Ok(frames) => Ok(Self::over(inner, frames)),
            Err(error) => Err(close_after("pcap", inner, error)),
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
    /// Sends the command. It is recorded first, so that a command that cannot be sent,
    /// or that ends the process, is in the file.
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
