// SPDX-License-Identifier: BSD-2-Clause
//! Shows each command and its response as text, as strace does for system calls:
//! `trace[,file=PATH][,secrets=show][,verbose=1]:CHILD`.
//!
//! A line has the command's name, its handles and typed parameters, its sessions, the
//! response code with the handle, parameter or session that it refers to, the
//! response's parameters, and the time from `transmit` to the response. Authorization
//! values, sensitive areas, unsealed data, other data that may be secret, and random
//! bytes are hidden unless `secrets=show`. Encrypted parameters are marked as such.
//!
//! Lines go to standard error, or are appended to a file. The layer changes no byte. A
//! line that cannot be written is left out, and the command does not fail.

#![forbid(unsafe_code)]

mod exchange;
mod fields;
mod schema;
mod structures;
mod words;

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

pub use exchange::{Decoder, Style};

use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::sys::descriptors::above_stdio;
use crate::sys::sigpipe;
use crate::{Error, ErrorKind, Result, Tcti};

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "file",
        value: "PATH",
        default: "standard error",
        text: "The file for the lines. A file is appended to. A new file is for its user alone \
               (mode 0600). It must not be empty. Each %p in it becomes the process's ID.",
    },
    Setting {
        key: "secrets",
        value: "show",
        default: "",
        text: "Shows authorization values, sensitive areas, unsealed data, data that is hashed, \
               encrypted or stored, and random bytes. Without it they are hidden.",
    },
    Setting {
        key: "verbose",
        value: "0|1",
        default: "0",
        text: "With 1, each field has a line of its own.",
    },
];

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let file = options.take("file");
    if file.as_deref() == Some("") {
        return Err(options.bad_value("file", "", "a path"));
    }
    let secrets = match options.take("secrets").as_deref() {
        None => false,
        Some("show") => true,
        Some(other) => return Err(options.bad_value("secrets", other, "show")),
    };
    let verbose = match options.take("verbose").as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(other) => return Err(options.bad_value("verbose", other, "0 or 1")),
    };
    Ok(Box::new(move |mut below| {
        match Output::open(file.as_deref()) {
            Ok(output) => {
                let style = Style {
                    verbose,
                    secrets,
                    colours: output.is_terminal(),
                };
                Ok(Box::new(Trace::over(below, output, style)))
            }
            Err(error) => {
                let _ = below.finalize();
                Err(error)
            }
        }
    }))
}

/// The destination of the lines.
#[derive(Debug)]
enum Output {
    StandardError,
    File(File),
}

impl Output {
    fn open(path: Option<&str>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::StandardError);
        };
        let path = path.replace("%p", &std::process::id().to_string());
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path);
        let file = file.and_then(|file| Ok(above_stdio(file.into())?));
        let file = file.map_err(|error| {
            Error::with_source(
                ErrorKind::IoError,
                format!("the layer trace: cannot open \"{path}\" (choose another with file=)"),
                error,
            )
        })?;
        Ok(Self::File(file.into()))
    }

    fn is_terminal(&self) -> bool {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            Self::StandardError => std::io::stderr().is_terminal() && !plain,
            Self::File(_) => false,
        }
    }

    /// Writes a line at once, so that lines of several threads do not mix.
    fn write(&mut self, line: &str) {
        let line = format!("{line}\n");
        // A failure to write must not make a command fail.
        let _ = sigpipe::shielded(|| match self {
            Self::StandardError => std::io::stderr().write_all(line.as_bytes()),
            Self::File(file) => file.write_all(line.as_bytes()),
        });
    }
}

/// A [`Tcti`] that shows what goes through it.
///
/// ```
/// use rusttcti::layer::trace::{Style, Trace};
/// use rusttcti::transport::null::Null;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trace");
/// let traced = Trace::new(Null::default(), &path, Style::default())?;
/// # drop(traced);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Trace<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    output: Output,
    decoder: Decoder,
    /// The command under way, and when it was sent.
    command: Vec<u8>,
    sent: Option<Instant>,
}

impl<T: Tcti> Trace<T> {
    /// Appends a line to a file for each command that goes through `inner`. A new file
    /// is for its user alone (mode 0600).
    ///
    /// # Errors
    /// [`ErrorKind::IoError`] if the file cannot be opened.
    pub fn new(inner: T, path: impl AsRef<std::path::Path>, style: Style) -> Result<Self> {
        let path = path.as_ref().to_string_lossy();
        Ok(Self::over(inner, Output::open(Some(&path))?, style))
    }

    fn over(inner: T, output: Output, style: Style) -> Self {
        Self {
            inner,
            output,
            decoder: Decoder::new(style),
            command: Vec::new(),
            sent: None,
        }
    }

    fn took(&self) -> Option<Duration> {
        self.sent.map(|sent| sent.elapsed())
    }

    fn failed(&mut self, error: Error) -> Error {
        let line = self.decoder.failure(&self.command, &error, self.took());
        self.output.write(&line);
        error
    }
}

impl<T: Tcti> Tcti for Trace<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.command.clear();
        self.command.extend_from_slice(command);
        self.sent = Some(Instant::now());
        self.inner
            .transmit(command)
            .map_err(|error| self.failed(error))
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        match self.inner.receive(response, timeout) {
            Ok(length) => {
                let took = self.took();
                let shown = response.get(..length).unwrap_or_default();
                let line = self.decoder.exchange(&self.command, shown, took);
                self.output.write(&line);
                Ok(length)
            }
            Err(error) if error.kind().leaves_command_pending() => Err(error),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }
}
