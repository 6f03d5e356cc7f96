// SPDX-License-Identifier: BSD-2-Clause
//! A running TPM with its state file, if it has one.

#![forbid(unsafe_code)]

use super::copy::Copy;
use super::ffi::openssl::ContextGuard;
use super::ffi::{Canceller, Library, Part, TPM_RESOURCES};
use super::file::StateFile;
use super::lock::Lock;
use super::power_on::{power_on, version};
use super::state::{Condition, State};
use super::{file_kind, stir, swtpm_file};
use crate::wire::{CommandBuilder, ResponseCode, ResponseView, startup_type};
use crate::{Error, ErrorKind, Result};

/// How a TPM is started if it was not running when its state was stored.
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::transport::libtpms::{Libtpms, Startup};
/// use rusttcti::wire::{CommandBuilder, CommandCode, ResponseCode, ResponseView};
///
/// let mut tpm = Libtpms::builder().startup(Startup::None).open()?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// let mut response = [0; 4096];
/// let size = tpm.receive(&mut response, None)?;
/// let response = ResponseView::parse(&response[..size], None)?;
/// assert_eq!(response.code(), ResponseCode::INITIALIZE); // no startup yet
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Startup {
    /// By `TPM2_Startup(TPM_SU_CLEAR)`, so that the first command works.
    #[default]
    Clear,
    /// By `TPM2_Startup(TPM_SU_STATE)`: it goes on from its last
    /// `TPM2_Shutdown(TPM_SU_STATE)`.
    State,
    /// Not at all: the caller does it, as with real hardware.
    None,
}

/// How a TPM is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) startup: Startup,
    /// Whether a TPM that goes on from a state draws the random numbers that this
    /// state leads to. Otherwise its generator is stirred.
    pub(super) deterministic: bool,
}

/// A TPM's state file, which this process has locked.
pub(super) struct Storage {
    file: StateFile,
    /// The permanent state in the file.
    written: Vec<u8>,
    /// The volatile state of this TPM before TPM2_Startup.
    blank: Vec<u8>,
    /// `Library::stores` when the file was last known to be up to date.
    stores: u64,
    sync: bool,
    /// The last field, because it is dropped last.
    _lock: Lock,
}

impl Storage {
    /// Waits until no other process uses the file.
    pub(super) fn lock(file: StateFile) -> Result<Self> {
        let lock = Lock::acquire(&file)?;
        file.clean();
        Ok(Self {
            file,
            written: Vec::new(),
            blank: Vec::new(),
            stores: 0,
            sync: std::env::var_os("RUSTTCTI_FSYNC").is_none_or(|value| value != "0"),
            _lock: lock,
        })
    }

    pub(super) fn read(&mut self) -> Result<Option<Vec<u8>>> {
        self.file.read()
    }

    /// Brings the file up to date with the permanent state as the TPM last
    /// stored it.
    fn commit(&mut self, library: &Library) -> Result<()> {
        library.with_stored(|permanent| {
            if permanent != self.written {
                self.write(permanent)?;
            }
            self.stores = library.stores();
            Ok(())
        })
    }

    fn write(&mut self, permanent: &[u8]) -> Result<()> {
        let state = State {
            permanent,
            volatile: &self.blank,
            condition: Condition::PoweredOff,
        };
        self.file.replace(&state.to_bytes(), self.sync)?;
        self.written.clear();
        self.written.extend_from_slice(permanent);
        Ok(())
    }
}

/// A running TPM.
pub(super) struct RunningTpm {
    copy: Copy,
    options: Options,
    storage: Option<Storage>,
    /// A text that says how the TPM was started in this process.
    beginning: &'static str,
}

impl RunningTpm {
    /// Opens a TPM that goes on from `state` (a state file's bytes), or a new one.
    ///
    /// # Errors
    /// libtpms cannot be loaded, it refuses the state, or the state cannot be written
    /// back. The file does not change then.
    pub(super) fn open(
        state: Option<&[u8]>,
        storage: Option<Storage>,
        options: Options,
    ) -> Result<Self> {
        let origin = match &storage {
            Some(storage) => format!("the state file \"{}\"", storage.file.path().display()),
            None => GIVEN.to_owned(),
        };
        let state = match (state, &storage) {
            (None, _) => None,
            (Some(bytes), Some(_)) => Some(parse(bytes, &origin)?),
            (Some(bytes), None) => Some(parse_template(bytes, &origin)?),
        };
        let resumed = state.is_some_and(State::is_resumable);
        let mut tpm = Self {
            copy: Copy::new()?,
            options,
            storage: None,
            beginning: beginning(state, storage.is_some()),
        };
        let library = &mut tpm.copy.library;
        if let Some(mut storage) = storage {
            power_on(library, state, false, &origin)?;
            storage.blank = library.state(Part::Volatile).map_err(no_state)?;
            if resumed {
                library.power_off();
                power_on(library, state, true, &origin)?;
                // From now on the file's volatile state is stale.
                library.with_stored(|permanent| storage.write(permanent))?;
            }
            tpm.start()?;
            tpm.stir(state)?;
            storage.commit(&tpm.copy.library)?;
            tpm.storage = Some(storage);
        } else {
            power_on(library, state, resumed, &origin)?;
            tpm.start()?;
            tpm.stir(state)?;
        }
        Ok(tpm)
    }

    /// Stirs the random number generator of a TPM that goes on from a state, because
    /// other TPMs may go on from the same state.
    fn stir(&mut self, state: Option<State<'_>>) -> Result<()> {
        if state.is_none() || self.options.deterministic {
            return Ok(());
        }
        let library = &mut self.copy.library;
        library.process(&stir::command()?, 0).map_err(no_response)?;
        stir::check(library.response())
    }

    /// Starts the TPM, unless the caller sends TPM2_Startup itself or the TPM is
    /// running already.
    fn start(&mut self) -> Result<()> {
        let kind = match self.options.startup {
            Startup::Clear => startup_type::CLEAR,
            Startup::State => startup_type::STATE,
            Startup::None => return Ok(()),
        };
        let command = CommandBuilder::startup(kind).build();
        let library = &mut self.copy.library;
        library.process(&command, 0).map_err(no_response)?;
        match ResponseView::parse(library.response(), None)?.code() {
            // It was started before its state was stored.
            ResponseCode::SUCCESS | ResponseCode::INITIALIZE => Ok(()),
            code => Err(Error::new(
                ErrorKind::GeneralFailure,
                format!("TPM2_Startup failed: {code:#}"),
            )),
        }
    }

    /// Returns a text that says how this TPM was started in this process, and by which
    /// version of libtpms.
    pub(super) fn origin(&self) -> String {
        let version = version(&self.copy.library);
        let library = self.copy.file();
        let library = library.map(|file| format!(" (\"{}\")", file.display()));
        format!(
            "{}, by libtpms {version}{}",
            self.beginning,
            library.unwrap_or_default()
        )
    }

    /// Returns the OpenSSL context that libtpms computes with, if it has its own.
    pub(super) fn openssl(&self) -> Option<ContextGuard> {
        self.copy.library.openssl()
    }

    /// Runs a command. When this returns, the state file has the whole permanent state.
    ///
    /// # Errors
    /// The state file cannot be written: this command fails, and later commands fail
    /// without being executed until it can be written.
    #[inline(always)]
    pub(super) fn process(&mut self, command: &[u8], locality: u8) -> Result<()> {
        self.catch_up()?;
        let library = &mut self.copy.library;
        library.process(command, locality).map_err(no_response)?;
        self.catch_up()
    }

    /// Returns the response to the last command.
    #[inline]
    pub(super) fn response(&self) -> &[u8] {
        self.copy.library.response()
    }

    pub(super) fn canceller(&self) -> Canceller {
        self.copy.library.canceller()
    }

    /// Returns the whole state, in the format of a state file.
    pub(super) fn snapshot(&mut self) -> Result<Vec<u8>> {
        let library = &mut self.copy.library;
        let permanent = library.state(Part::Permanent).map_err(no_state)?;
        let volatile = library.state(Part::Volatile).map_err(no_state)?;
        let state = State {
            permanent: &permanent,
            volatile: &volatile,
            condition: Condition::Suspended,
        };
        Ok(state.to_bytes())
    }

    /// Goes on from a state, as `open` does.
    pub(super) fn restore(&mut self, state: &[u8]) -> Result<()> {
        let state = parse_template(state, GIVEN)?;
        let before = self.snapshot()?;
        self.copy.library.power_off();
        let restored = power_on(
            &mut self.copy.library,
            Some(state),
            state.is_resumable(),
            GIVEN,
        );
        if let Err(error) = restored {
            self.copy.library.power_off();
            let before = parse(&before, GIVEN)?;
            power_on(&mut self.copy.library, Some(before), true, GIVEN)?;
            return Err(error);
        }
        self.start()?;
        self.stir(Some(state))?;
        self.commit()
    }

    /// Power-cycles the TPM.
    pub(super) fn reset(&mut self) -> Result<()> {
        let library = &mut self.copy.library;
        let permanent = library.state(Part::Permanent).map_err(no_state)?;
        let state = State {
            permanent: &permanent,
            volatile: &[],
            condition: Condition::PoweredOff,
        };
        library.power_off();
        power_on(library, Some(state), false, GIVEN)?;
        self.start()?;
        self.commit()
    }

    /// Brings the file up to date, if the TPM asked for that.
    #[inline]
    fn catch_up(&mut self) -> Result<()> {
        match &mut self.storage {
            Some(storage) if storage.stores != self.copy.library.stores() => {
                storage.commit(&self.copy.library)
            }
            _ => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<()> {
        match &mut self.storage {
            Some(storage) => storage.commit(&self.copy.library),
            None => Ok(()),
        }
    }

    /// Stores the state and powers the TPM off. The next user of the file goes on from
    /// this state.
    pub(super) fn suspend(mut self) -> Result<()> {
        if self.storage.is_none() {
            return Ok(());
        }
        let state = self.snapshot()?;
        match &self.storage {
            Some(storage) => storage.file.replace(&state, storage.sync),
            None => Ok(()),
        }
    }

    /// Stores the state at the end of the process, when OpenSSL may have cleaned up.
    /// The library stays loaded.
    pub(super) fn end(self) -> Result<()> {
        let mut tpm = std::mem::ManuallyDrop::new(self);
        tpm.copy.library.forget_openssl();
        let Some(storage) = tpm.storage.take() else {
            return Ok(());
        };
        let state = tpm.snapshot()?;
        storage.file.replace(&state, storage.sync)
    }
}

/// Returns a text that says how a TPM starts from this state.
fn beginning(state: Option<State<'_>>, in_file: bool) -> &'static str {
    match state {
        None => "made anew",
        Some(state) if state.is_resumable() => "resumed",
        Some(state) if in_file && state.condition == Condition::PoweredOff => {
            "started after a power loss (the file was not closed cleanly)"
        }
        Some(_) => "started from its permanent state",
    }
}

/// The name, in messages, of a state that does not come from a file.
const GIVEN: &str = "the TPM state that was given";

fn parse<'a>(state: &'a [u8], origin: &str) -> Result<State<'a>> {
    State::parse(state).map_err(|reason| match swtpm_file::permanent_state(state) {
        Some(_) => unusable(
            origin,
            "it is swtpm's (libtpms-copy starts a TPM in memory from it, and leaves it to swtpm)",
        ),
        None => unusable(origin, &kind_of(state).unwrap_or(reason)),
    })
}

/// Parses the template of a TPM in memory: a state, or swtpm's state file.
fn parse_template<'a>(bytes: &'a [u8], origin: &str) -> Result<State<'a>> {
    match swtpm_file::permanent_state(bytes) {
        Some(Ok(permanent)) => Ok(State {
            permanent,
            volatile: &[],
            condition: Condition::PoweredOff,
        }),
        Some(Err(reason)) => Err(unusable(origin, &reason)),
        None => parse(bytes, origin),
    }
}

/// Returns the kind of a file that cannot be read as a state; `None` if it is a damaged
/// state.
fn kind_of(bytes: &[u8]) -> Option<String> {
    match State::has_trailer(bytes) {
        true => None,
        false => file_kind::of(bytes),
    }
}

fn unusable(origin: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("{origin} cannot be used: {reason}"),
    )
}

#[cold]
fn no_response(rc: u32) -> Error {
    if rc == TPM_RESOURCES {
        return ErrorKind::Memory.into();
    }
    Error::new(
        ErrorKind::GeneralFailure,
        format!("libtpms returned no response (result code 0x{rc:x})"),
    )
}

fn no_state(rc: u32) -> Error {
    Error::new(
        ErrorKind::GeneralFailure,
        format!("libtpms does not return its state (TPMLIB_GetState: 0x{rc:x})"),
    )
}
