// SPDX-License-Identifier: BSD-2-Clause
//! A TPM inside this process: libtpms, loaded at run time, with one copy of the library
//! for each TPM.
//!
//! Without CONF the TPM is in memory: each context has its own, which ends with the
//! context. CONF is the path of a state file, in tpm2-tss's format. When the TPM is
//! closed, or the process ends by exit(3), the TPM is suspended, and the next context
//! on the file goes on from there. A crash is a power loss.
//!
//! A software TPM does not protect its keys from its own user: the state file and the
//! process's memory hold all of them. Its seeds come from the system's entropy (through
//! OpenSSL).
//!
//! dlclose(3) unloads a module that contains this transport, with one exception: once
//! several of the program's threads have used embedded TPMs, it stays loaded until the
//! process ends. OpenSSL keeps state for each of these threads, which can be freed only
//! when they end. A program that loads the module again gets the loaded one, so nothing
//! grows.

#![deny(unsafe_code)] // allowed in ffi alone

mod builder;
mod copy;
mod digest;
mod duration;
mod elf;
#[allow(unsafe_code)]
mod ffi;
mod file;
mod file_kind;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod lock;
mod lock_holder;
mod mailbox;
mod power_on;
mod registry;
mod remedy;
mod running_tpm;
mod shared_tpm;
mod state;
mod stir;
mod swtpm_file;

use std::ffi::CStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::Builder;
use self::duration::takes_long;
use self::file::StateFile;
use self::mailbox::Mailbox;
use self::registry::FileUse;
use self::running_tpm::RunningTpm;
pub use self::running_tpm::Startup;
use self::shared_tpm::{Job, KeptTpm, SharedTpm, closed};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::contract::tcti::check_locality;
use crate::sys::fork::Generation;
use crate::{Cancel, Error, ErrorKind, Module, Peer, PollHandle, Result, Tcti};

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "",
    value: "PATH",
    default: "none, a TPM in memory",
    text: "The TPM's state file. It is made if it does not exist, but its folder must exist. A \
           symbolic link is followed. Without a path, each context has a new TPM, which is \
           gone when the context is closed.",
}];
const HELP: &Text = &setting::help(SETTINGS);

/// The transport to a TPM inside this process.
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::transport::libtpms::Libtpms;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// let mut tpm = Libtpms::builder().open()?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// let mut response = [0; 4096];
/// assert_eq!(tpm.receive(&mut response, None)?, 28);
///
/// let then = tpm.snapshot()?;
/// tpm.reset()?; // a power cycle
/// tpm.restore(&then)?; // back to before it
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct Libtpms {
    /// The process that opened it.
    generation: Generation,
    /// `None` once finalized.
    tpm: Option<Arc<SharedTpm>>,
    /// The TPM, kept from one short command to the next if no other context can use it:
    /// this saves a lock for each command.
    kept: Option<KeptTpm>,
    /// `None` for a TPM in memory.
    share: Option<FileUse>,
    locality: u8,
    /// The response to a short command that `transmit` ran, unless the TPM that is
    /// kept still has it.
    response: Vec<u8>,
    pending: Pending,
    mailbox: Arc<Mailbox>,
}

// Not derived: a response may hold a secret.
impl fmt::Debug for Libtpms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libtpms")
            .field("locality", &self.locality)
            .finish_non_exhaustive()
    }
}

/// The location of the response to the last command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// No response is awaited.
    Nothing,
    /// The response is in the context.
    Here,
    /// The response is, or will be, in the mailbox.
    Mailbox,
}

impl Libtpms {
    /// Returns a builder with the default options: a new TPM in memory.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(tpm: Arc<SharedTpm>, share: Option<FileUse>, locality: u8) -> Self {
        Self {
            generation: Generation::current(),
            mailbox: Mailbox::new(&tpm),
            tpm: Some(tpm),
            kept: None,
            share,
            locality,
            response: Vec::new(),
            pending: Pending::Nothing,
        }
    }

    /// Returns the whole state of the TPM, volatile and permanent, in the format of a
    /// state file, for [`restore`](Self::restore) or [`Builder::state`].
    ///
    /// # Errors
    /// Those of libtpms; the TPM does not change then.
    pub fn snapshot(&mut self) -> Result<Vec<u8>> {
        self.with(RunningTpm::snapshot)
    }

    /// Puts the TPM into the state of a [`snapshot`](Self::snapshot), of this TPM or
    /// another. Its state file, if it has one, is written.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for bytes that are not a state; the TPM does not change
    /// then. [`ErrorKind::IoError`] if the state file cannot be written.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.with(|tpm| tpm.restore(state))
    }

    /// Calls the TPM, once no other context does.
    fn with<T>(&mut self, call: impl FnOnce(&mut RunningTpm) -> Result<T>) -> Result<T> {
        self.release();
        self.tpm()?.with(call)
    }

    /// Lets other callers use the TPM, after taking the response to the last command
    /// out of it.
    fn release(&mut self) {
        if let Some(kept) = self.kept.take() {
            if self.pending == Pending::Here {
                self.response.clear();
                self.response.extend_from_slice(response_of(&kept));
            }
        }
    }

    /// Returns the TPM. Fails in a forked child: worker, file lock and TPM belong to
    /// the parent.
    #[inline]
    fn tpm(&self) -> Result<&Arc<SharedTpm>> {
        match &self.tpm {
            Some(tpm) if !self.is_inherited() => Ok(tpm),
            _ => Err(self.no_tpm()),
        }
    }

    #[cold]
    fn no_tpm(&self) -> Error {
        if !self.is_inherited() {
            return closed();
        }
        Error::new(
            ErrorKind::BadContext,
            "this TPM was opened before fork() and belongs to the parent process",
        )
    }

    fn is_inherited(&self) -> bool {
        !self.generation.is_current()
    }

    /// Runs a short command here. Returns false while the TPM is busy with another
    /// command.
    #[inline]
    fn run(&mut self, command: &[u8]) -> Result<bool> {
        let tpm = self.tpm()?;
        if self.share.is_some() {
            return self.run_in_turn(command, false);
        }
        if self.kept.is_none() {
            self.kept = tpm.try_keep();
        }
        let Some(kept) = &mut self.kept else {
            return Ok(false);
        };
        let tpm = kept.as_mut().ok_or_else(closed)?;
        tpm.process(command, self.locality)?;
        Ok(true)
    }

    /// Runs a short command here on a TPM that other contexts use in between. If
    /// `wait` is set it waits for them; otherwise it returns false.
    fn run_in_turn(&mut self, command: &[u8], wait: bool) -> Result<bool> {
        let mut response = std::mem::take(&mut self.response);
        let run = |tpm: &mut RunningTpm| {
            tpm.process(command, self.locality)?;
            response.clear();
            response.extend_from_slice(tpm.response());
            Ok(())
        };
        let result = self.tpm().map(|tpm| match wait {
            true => Some(tpm.with(run)),
            false => tpm.try_with(run),
        });
        self.response = response;
        Ok(result?.transpose()?.is_some())
    }

    /// Gives the command to the worker. Returns false if no worker can be started.
    fn send(&mut self, command: &[u8]) -> Result<bool> {
        self.release();
        let tpm = self.tpm()?;
        self.mailbox.make_room()?;
        Ok(tpm.send(Job {
            mailbox: self.mailbox.clone(),
            command: command.into(),
            locality: self.locality,
            cancelled: false,
        }))
    }
}

/// Reads the bytes of a state file, for a TPM that starts from a copy of it.
pub(super) fn read_state(path: &Path) -> Result<Vec<u8>> {
    let state = StateFile::find(path)?.read()?;
    state.ok_or_else(|| {
        Error::new(
            ErrorKind::IoError,
            format!(
                "there is no state file \"{0}\" to copy (the transport libtpms makes one: \
                 libtpms:{0})",
                path.display()
            ),
        )
    })
}

#[cold]
fn not_received() -> Error {
    Error::new(
        ErrorKind::BadSequence,
        "the response to the previous command was not received yet",
    )
}

fn response_of(kept: &KeptTpm) -> &[u8] {
    kept.as_ref().map_or(&[], RunningTpm::response)
}

impl Module for Libtpms {
    const NAME: &'static CStr = c"libtpms";
    const DESCRIPTION: &'static CStr = c"a TPM inside this process, by libtpms";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Libtpms {
    /// The path of the state file; none for a TPM in memory.
    type Config = Option<String>;

    fn parse(conf: Option<&str>) -> Result<Option<String>> {
        Ok(conf.filter(|path| !path.is_empty()).map(str::to_owned))
    }

    fn open(path: &Option<String>) -> Result<Self> {
        match path {
            None => Self::builder().open(),
            Some(path) => Self::builder().path(path).open(),
        }
    }
}

impl Tcti for Libtpms {
    /// Runs short commands on the calling thread. Long commands run on the TPM's
    /// worker, and so do short ones if the TPM is busy with another context's command.
    /// If the process can have no more threads, they all run on the calling thread.
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        if self.pending != Pending::Nothing {
            return Err(not_received());
        }
        if takes_long(command) || !self.run(command)? {
            if self.send(command)? {
                self.pending = Pending::Mailbox;
                return Ok(());
            }
            self.run_in_turn(command, true)?;
        }
        self.pending = Pending::Here;
        self.mailbox.set_event();
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let received = match self.pending {
            Pending::Here => {
                self.pending = Pending::Nothing;
                self.mailbox.clear_event();
                let from = match &self.kept {
                    Some(kept) => response_of(kept),
                    None => &self.response,
                };
                return mailbox::copy(from, response);
            }
            Pending::Mailbox => self.mailbox.take(response, timeout),
            Pending::Nothing => Err(Error::new(ErrorKind::BadSequence, "no command was sent")),
        };
        match &received {
            Err(error) if error.kind() == ErrorKind::TryAgain => {}
            _ => self.pending = Pending::Nothing,
        }
        received
    }

    /// Returns `None` after a short command, which `transmit` has executed.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        (self.pending != Pending::Here).then(|| self.mailbox.clone() as Arc<dyn Cancel>)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let handle = self.mailbox.poll_handle(self.pending == Pending::Here)?;
        Ok(vec![handle])
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        check_locality(locality)?;
        self.locality = locality;
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.with(RunningTpm::reset)
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            identity: self
                .tpm
                .as_ref()
                .map(|tpm| format!("libtpms {:p}", Arc::as_ptr(tpm))),
            is_exclusive: true,
            is_kernel_manager: false,
            has_view: false,
        })
    }

    /// Cancels a command under way. The last context on a TPM suspends it.
    fn finalize(&mut self) -> Result<()> {
        if self.is_inherited() {
            // The parent still uses it.
            std::mem::forget((self.kept.take(), self.tpm.take(), self.share.take()));
            return Ok(());
        }
        let Some(tpm) = self.tpm.take() else {
            return Ok(());
        };
        self.kept = None;
        self.mailbox.abandon();
        self.pending = Pending::Nothing;
        match self.share.take() {
            Some(share) => share.close(&tpm),
            None => tpm.close(),
        }
    }
}

impl Drop for Libtpms {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::sys::log::error!("libtpms: {}", error.report());
        }
    }
}
