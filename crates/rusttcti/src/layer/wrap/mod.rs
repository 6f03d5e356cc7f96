// SPDX-License-Identifier: BSD-2-Clause
//! Protects the commands and responses between a program and its TPM from being
//! read or changed:
//! `wrap,key=null|FILE[,handle=0x81000001][,name=HEX][,strict=1][,skip=CODE...]:CHILD`.
//!
//! Programs that use no sessions, or weak ones, are protected as if they used
//! good ones: every command that the program sends gets a salted HMAC session of
//! the layer's own, which encrypts the first parameters both ways where the
//! command allows it, and authenticates the whole exchange (TPM 2.0 Library
//! specification, Part 1, sections 17 to 21). Passwords become HMAC
//! authorizations, so that none of them passes.
//!
//! ```text
//! program       NV_Write, password                 data
//! wrap          salted session, HMAC               data, encrypted
//! bus                                    ... an attacker reads or changes ...
//! TPM           checks the HMAC, decrypts
//! ```
//!
//! The engine does no I/O: `line` turns its steps, which wait for responses, into
//! commands to send. `engine` takes one command of the program's through these
//! stages: its parts (`command`), a plan (`protect`, with a `slot` for each
//! authorization), the command that is sent (`rewrite`, `build`), the answer
//! (`answer`, `refusal`) and its effects (`effects`). `contact` makes sessions,
//! salted with a key from `salt`, and `room` makes room for them in the TPM.
//! `crypto` and `curve` have the derivations. This file drives the engine.

#![forbid(unsafe_code)]

mod answer;
mod build;
mod bytes;
mod command;
mod contact;
mod crypto;
mod curve;
mod effects;
mod engine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(test, not(fuzzing)))]
#[allow(unreachable_pub)] // public for the fuzzer
mod fuzzing;
mod key;
mod line;
mod lists;
mod names;
mod options;
mod program_sessions;
mod protect;
mod refusal;
mod rewrite;
mod room;
mod salt;
mod session;
mod slot;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::crypto::Secret;
use self::engine::Engine;
use self::key::KeySource;
use self::line::{Exchange, Outgoing, Step};
use self::options::{Settings, Written};
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::sys::deadline::Deadline;
use crate::sys::fork::Generation;
use crate::wire::CommandCode;
use crate::{Cancel, Error, ErrorKind, Result, Tcti};

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
            // The user is told the first error.
            let _ = below.finalize();
            Err(error)
        }
    }))
}

/// The engine and the response, which the steps of a command return.
type Served = (Box<Engine>, Result<Secret>);

/// The state of the layer: the engine is here, or with the steps of a command under
/// way.
enum State {
    Idle(Box<Engine>),
    Busy(Exchange<Served>),
    /// A panic lost the engine.
    Lost,
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
pub struct Wrap<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    state: State,
    /// The response to the program's command, once it is known.
    ready: Option<Secret>,
    /// The buffer for responses, which are wiped here once they are copied.
    buffer: Secret,
    canceller: Arc<Canceller>,
    /// Whether the TCTI below can cancel commands.
    cancels: bool,
    /// The process that opened it.
    generation: Generation,
    open: bool,
}

impl<T: Tcti> Wrap<T> {
    /// Protects the commands that go through `inner`. The options are written as in
    /// a chain: `key=null,strict=1`. No command is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for options that cannot be understood, or without a
    /// key; [`ErrorKind::NotSupported`] for a key that sessions cannot be salted
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
                // The caller is told the first error.
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
        Self {
            inner,
            cancels,
            state: State::Idle(Box::new(Engine::new(settings))),
            ready: None,
            buffer: Secret::default(),
            canceller: Arc::default(),
            generation: Generation::current(),
            open: true,
        }
    }

    /// Runs the steps until one waits for a response. Returns the program's
    /// response once it is known.
    fn drive(&mut self, mut step: Step<Served>) -> Result<Option<Secret>> {
        loop {
            match step {
                Step::Done((engine, served)) => {
                    self.state = State::Idle(engine);
                    return served.map(Some);
                }
                Step::Send(command) => match self.send(&command) {
                    Ok(()) => return Ok(None),
                    Err(error) => match &mut self.state {
                        State::Busy(exchange) => step = exchange.feed(Err(error)),
                        _ => return Err(error),
                    },
                },
            }
        }
    }

    /// Sends a command. If it is the program's, its canceller is kept. The layer's
    /// own commands are never cancelled: a cancelled program's command is not sent
    /// after them.
    fn send(&mut self, command: &Outgoing) -> Result<()> {
        let mut below = self.canceller.lock();
        *below = None;
        self.inner.transmit(&command.bytes)?;
        if command.programs {
            *below = self.inner.canceller();
            if let (Some(below), true) = (&*below, self.canceller.is_cancelled()) {
                below.cancel()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, command: &[u8]) -> Result<()> {
        let State::Idle(_) = &self.state else {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the layer wrap: a response is awaited",
            ));
        };
        let State::Idle(mut engine) = std::mem::replace(&mut self.state, State::Lost) else {
            return Err(ErrorKind::GeneralFailure.into());
        };
        let command = Secret::new(command.to_vec());
        let mut exchange = Exchange::new(|line| async move {
            let served = engine.serve(command, &line).await;
            (engine, served)
        });
        self.canceller.begin(exchange.cancelled());
        let step = exchange.advance();
        self.state = State::Busy(exchange);
        self.ready = self.drive(step)?;
        Ok(())
    }

    /// Ends the layer's sessions in the TPM.
    fn flush_sessions(&mut self) {
        let State::Idle(engine) = &mut self.state else {
            return;
        };
        engine.retire_all();
        for handle in std::mem::take(&mut engine.stale) {
            let flush = command::plain(CommandCode::FLUSH_CONTEXT, &handle.to_be_bytes());
            let mut response = [0; engine::LONGEST];
            let flushed = self
                .inner
                .transmit(&flush)
                .and_then(|()| self.inner.receive(&mut response, Some(PATIENCE)));
            if let Err(error) = flushed {
                crate::sys::log::debug!("wrap: {}", error.report());
                return;
            }
        }
    }
}

/// How long each of the layer's own commands may take when the layer is closed.
const PATIENCE: Duration = Duration::from_secs(5);

impl<T: Tcti> Tcti for Wrap<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.ready = None;
        self.begin(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        let size = response.len().max(engine::LONGEST);
        let answer = loop {
            if let Some(answer) = self.ready.take() {
                break answer;
            }
            if self.buffer.len() < size {
                self.buffer = Secret::new(vec![0; size]);
            }
            let length = match self.inner.receive(&mut self.buffer, deadline.remaining()) {
                Ok(length) => Ok(length),
                Err(error) if error.kind().leaves_command_pending() => return Err(error),
                Err(error) => Err(error),
            };
            let State::Busy(exchange) = &mut self.state else {
                return Err(Error::new(
                    ErrorKind::BadSequence,
                    "the layer wrap: no response is awaited",
                ));
            };
            let fed = length.and_then(|length| match self.buffer.get_mut(..length) {
                Some(bytes) => {
                    let received = Secret::new(bytes.to_vec());
                    zeroize::Zeroize::zeroize(bytes);
                    Ok(received)
                }
                None => Err(ErrorKind::MalformedResponse.into()),
            });
            let step = exchange.feed(fed);
            self.ready = self.drive(step)?;
        };
        match response.get_mut(..answer.len()) {
            Some(room) => {
                room.copy_from_slice(&answer);
                Ok(answer.len())
            }
            None => Err(Error::new(
                ErrorKind::MalformedResponse,
                format!(
                    "the layer wrap: the response has {} bytes, and there is room for {}",
                    answer.len(),
                    response.len()
                ),
            )),
        }
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        let now = self.canceller.lock().is_some();
        (self.cancels || now).then(|| self.canceller.clone() as Arc<dyn Cancel>)
    }

    fn reset(&mut self) -> Result<()> {
        self.inner.reset()?;
        if let State::Idle(engine) = &mut self.state {
            engine.forget();
        }
        Ok(())
    }

    /// Leaves the sessions to the parent; the child makes its own.
    fn after_fork(&mut self) -> Result<()> {
        self.inner.after_fork()?;
        self.generation = Generation::current();
        if let State::Idle(engine) = &mut self.state {
            engine.forget();
        }
        Ok(())
    }

    /// Flushes the layer's sessions, unless a response is awaited, or this is a
    /// forked child, whose parent goes on with the TPM.
    fn finalize(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        if self.generation.is_current() {
            self.flush_sessions();
        }
        self.inner.finalize()
    }
}

impl<T: Tcti> Drop for Wrap<T> {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::sys::log::debug!("wrap: {}", error.report());
        }
    }
}

/// Cancels the program's command, also while one of the layer's own is under way.
#[derive(Default)]
struct Canceller {
    /// The canceller of the command below.
    below: Mutex<Option<Arc<dyn Cancel>>>,
    /// Set to keep the program's command from being sent.
    flag: Mutex<Arc<AtomicBool>>,
}

impl Canceller {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Cancel>>> {
        self.below.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cancelled(&self) -> bool {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        flag.load(Ordering::SeqCst)
    }

    /// Begins another command of the program's.
    fn begin(&self, flag: Arc<AtomicBool>) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = flag;
    }
}

impl Cancel for Canceller {
    fn cancel(&self) -> Result<()> {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(true, Ordering::SeqCst);
        drop(flag);
        match &*self.lock() {
            Some(below) => below.cancel(),
            None => Ok(()),
        }
    }
}

impl<T: Tcti> std::fmt::Debug for Wrap<T> {
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
