// SPDX-License-Identifier: BSD-2-Clause
//! Protects the commands and responses between a program and its TPM from being
//! read or changed:
//! `wrap,key=null|FILE[,handle=0x81000001][,name=HEX][,strict=1][,skip=CODE...]:CHILD`.
//!
//! Programs that use no sessions, or weak ones, are protected as if they used good
//! ones. Every command of the program gets a salted HMAC session of the layer. The
//! session encrypts the first parameters both ways if the command allows it, and
//! authenticates the whole exchange (TPM 2.0 Library specification, Part 1, sections 17
//! to 21). Passwords become HMAC authorizations, so no password passes.
//!
//! ```text
//! program       NV_Write, password                 data
//! wrap          salted session, HMAC               data, encrypted
//! bus                                    ... an attacker reads or changes ...
//! TPM           checks the HMAC, decrypts
//! ```
//!
//! The engine does no I/O. Its async functions send commands and await responses by an
//! `exchange`, which `connection` connects to the TPM. `engine` takes one command of
//! the program's through these stages: its parts (`command`), a `plan` with a
//! `treatment` for each authorization (`unchanged_auths` checks those that stay), the
//! command that is sent (`rewrite`, `build`), the response (`answer`, or `refusal`
//! after an error of the TPM), and its effects (`effects`). The engine's records are
//! `names`, `program_sessions` and `own_sessions`. `own_sessions` starts the layer's
//! sessions, salted with a key from `salt`, and `room` makes room for them in the TPM.
//! `crypto` and `curve` have the derivations, and `failure` the ways in which a command
//! ends early.

#![forbid(unsafe_code)]

mod answer;
mod build;
mod bytes;
mod command;
mod connection;
mod crypto;
mod curve;
mod effects;
mod engine;
mod exchange;
mod failure;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(test, not(fuzzing)))]
#[allow(unreachable_pub)] // public for the fuzzer
mod fuzzing;
mod handle_lists;
mod key;
mod names;
mod options;
mod own_sessions;
mod plan;
mod program_sessions;
mod refusal;
mod rewrite;
mod room;
mod salt;
mod session;
#[cfg(test)]
mod tests;
mod treatment;
mod unchanged_auths;

use std::sync::Arc;
use std::time::Duration;

use self::connection::{Canceller, Connection};
use self::key::KeySource;
use self::options::{Settings, Written};
use super::exit;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::contract::tcti::inherited;
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::locks::exclusive::{Exclusive, KeptGuard};
use crate::{Cancel, Peer, PollHandle, Result, Tcti};

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "key",
        value: "null|FILE",
        default: "",
        text: "The key that salts the sessions. There is no default. FILE holds the public \
               part of a persistent ECC key of this TPM on P-256 or P-384: a TPM2B_PUBLIC, as \
               tpm2_readpublic -o writes it, or PEM. With null, the key is an ECC primary of \
               the null hierarchy, which the TPM makes and which changes at each reset of the \
               TPM.",
    },
    Setting {
        key: "handle",
        value: "HANDLE",
        default: "0x81000001",
        text: "The persistent handle of the key in the file.",
    },
    Setting {
        key: "name",
        value: "HEX",
        default: "",
        text: "The Name that the key must have, in hexadecimal: 000b and a SHA-256 digest, or \
               000c and a SHA-384 digest. With key=null, the log shows the Name at the level \
               info.",
    },
    Setting {
        key: "strict",
        value: "0|1",
        default: "0",
        text: "With 1, a command that cannot be protected is refused. With 0 it passes as the \
               program wrote it, and the log says why, once.",
    },
    Setting {
        key: "skip",
        value: "CODE...",
        default: "",
        text: "Commands that pass unchanged, for TPMs that accept no sessions with them: names \
               or codes with + between them, as in GetTestResult+0x17a.",
    },
];

/// Reads its options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let written = Written::take(options)?;
    Ok(Box::new(move |mut below| match written.settings() {
        Ok(settings) => Ok(Box::new(Wrap::over(settings, below))),
        Err(error) => {
            // The user gets the first error.
            let _ = below.finalize();
            Err(error)
        }
    }))
}

/// A [`Tcti`] whose commands are protected.
///
/// ```
/// use rusttcti::layer::wrap::Wrap;
///
/// let tpm = Wrap::new(rusttcti::open("libtpms")?, "key=null")?;
/// # drop(tpm);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct Wrap<T: Tcti + 'static = Box<dyn Tcti>> {
    connection: Arc<Exclusive<Connection<T>>>,
    /// The connection while a command is under way. Otherwise the end of the process
    /// may take it, to flush the layer's sessions.
    kept: Option<KeptGuard<Connection<T>>>,
    canceller: Arc<Canceller>,
    /// Whether the TCTI below can cancel commands.
    cancels: bool,
    open: bool,
}

/// How long each of the layer's own commands may take when the layer is closed, and
/// how long a command waits for the end of the process, which flushes the sessions.
const PATIENCE: Duration = Duration::from_secs(5);

impl<T: Tcti + 'static> Wrap<T> {
    /// Protects the commands that go through `inner`. The options are written as in
    /// a chain: `key=null,strict=1`. No command is sent yet.
    ///
    /// # Errors
    /// [`BadValue`](crate::ErrorKind::BadValue) for options that cannot be understood, or without a
    /// key; [`NotSupported`](crate::ErrorKind::NotSupported) for a key that sessions cannot be salted
    /// with. `inner` is finalized then.
    pub fn new(mut inner: T, options: &str) -> Result<Self> {
        let options = match options {
            "" => String::new(),
            options => format!(",{options}"),
        };
        let settings = Options::parse("wrap", &options)
            .and_then(|(mut options, _)| Written::take(&mut options)?.settings());
        match settings {
            Ok(settings) => Ok(Self::over(settings, inner)),
            Err(error) => {
                // The caller gets the first error.
                let _ = inner.finalize();
                Err(error)
            }
        }
    }

    fn over(mut settings: Settings, mut inner: T) -> Self {
        if matches!(settings.source, KeySource::Null) {
            settings.system_name = system_name(&mut inner);
        }
        settings.has_view_below = inner.peer().is_some_and(|peer| peer.has_view);
        let cancels = inner.canceller().is_some();
        let canceller = Arc::<Canceller>::default();
        let connection = Connection::new(inner, settings, canceller.clone());
        let connection = Arc::new(Exclusive::new(connection));
        exit::register(&connection);
        Self {
            connection,
            kept: None,
            canceller,
            cancels,
            open: true,
        }
    }

    /// Takes the connection. [`release`](Self::release) gives it back.
    fn take(&mut self) -> Result<&mut Connection<T>> {
        let kept = match self.kept.take().or_else(|| self.connection.try_keep()) {
            Some(kept) => kept,
            None => {
                let deadline = Deadline::after(Some(PATIENCE));
                retry_until(deadline, || self.connection.try_keep()).ok_or_else(inherited)?
            }
        };
        Ok(self.kept.insert(kept))
    }

    /// Gives the connection back, unless a command is under way.
    fn release(&mut self) {
        if self.kept.as_ref().is_some_and(|kept| kept.is_idle()) {
            self.kept = None;
        }
    }

    /// Calls a function with the connection.
    fn with<R>(&mut self, call: impl FnOnce(&mut Connection<T>) -> Result<R>) -> Result<R> {
        let result = call(self.take()?);
        self.release();
        result
    }
}

impl<T: Tcti + 'static> Tcti for Wrap<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.with(|connection| connection.transmit(command))
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.with(|connection| connection.receive(response, timeout))
    }

    /// Keeps the connection until the next response, so that the caller may use it.
    fn below(&mut self) -> Option<&mut dyn Tcti> {
        match self.take() {
            Ok(connection) => Some(&mut connection.inner),
            Err(_) => None,
        }
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        let now = self.canceller.lock().is_some();
        (self.cancels || now).then(|| self.canceller.clone() as Arc<dyn Cancel>)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.with(|connection| connection.inner.poll_handles())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.with(|connection| connection.inner.set_locality(locality))
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.with(|connection| connection.inner.make_sticky(handle, sticky))
    }

    fn reset(&mut self) -> Result<()> {
        self.with(|connection| {
            connection.inner.reset()?;
            connection.forget();
            Ok(())
        })
    }

    /// Leaves the sessions to the parent; the child makes its own.
    fn after_fork(&mut self) -> Result<()> {
        self.with(Connection::after_fork)?;
        exit::register(&self.connection);
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        self.with(|connection| Ok(connection.inner.peer())).ok()?
    }

    /// Flushes the layer's sessions, unless a response is awaited, or this is a
    /// forked child, whose parent goes on with the TPM.
    fn finalize(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.with(|connection| {
            connection.flush_sessions(Deadline::after(Some(PATIENCE)));
            connection.inner.finalize()
        })
    }
}

impl<T: Tcti + 'static> Drop for Wrap<T> {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::sys::log::debug!("wrap: {}", error.report());
        }
    }
}

impl<T: Tcti + 'static> std::fmt::Debug for Wrap<T> {
    /// Prints the type's name, and no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wrap").finish_non_exhaustive()
    }
}

/// Returns the Name of the null hierarchy's primary that the kernel reports for the
/// device below, and the file that has it.
fn system_name(inner: &mut impl Tcti) -> Option<(Vec<u8>, String)> {
    let handles = inner.poll_handles().ok()?;
    let link = format!("/proc/self/fd/{}", handles.first()?.fd);
    let device = std::fs::read_link(link).ok()?;
    let device = device.to_str()?.strip_prefix("/dev/tpm")?;
    let number: u32 = device.strip_prefix("rm").unwrap_or(device).parse().ok()?;
    let file = format!("/sys/class/tpm/tpm{number}/null_name");
    let text = std::fs::read_to_string(&file).ok()?;
    Some((key::from_hex(text.trim())?, file))
}
