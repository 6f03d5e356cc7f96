// SPDX-License-Identifier: BSD-2-Clause
//! A recording instead of a TPM: `replay:FILE[,match=strict|code]`.
//!
//! FILE is a pcapng recording of the layer [`pcap`](crate::layer::pcap) or of
//! tpm2-tss's module of that name. A recording has one conversation for each recorded
//! context. Each new context starts at the beginning of a conversation, and each
//! command is answered at once with the recorded response. With `match=strict`, the
//! command must equal the recorded one. If it differs, it fails, and the error names
//! the first difference. A command after the end of the recording fails too.
//!
//! Differences in the nonces that ESYS draws for each session, and in the HMACs that
//! depend on them, are ignored. If the session has no key, the response's HMAC is
//! computed anew. The sessions that tpm2-tools start for an empty authorization are of
//! this kind. A session that is salted or bound, that authorizes with a value, or that
//! encrypts a response cannot be replayed to a program with other nonces: the command
//! fails with an error that says so. `match=code` compares only the command codes, and
//! answers as recorded. A program that checks HMACs refuses such an answer.
//!
//! If FILE has several conversations, a context takes the first one that fits. Two
//! equal programs, such as two tpm2_getrandom, both get the answers of the first.

#![forbid(unsafe_code)]

mod difference;
mod nonces;
mod script;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::script::{Match, Script};
use super::open_log::Opening;
use crate::config::setting::{self, Setting, Text};
use crate::config::{self, Configured};
use crate::contract::tcti::check_locality;
use crate::sys::timer::Timer;
use crate::{Cancel, Error, ErrorKind, Module, PollHandle, Result, Tcti};

/// What CONF is.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "",
        value: "FILE",
        default: "",
        text: "A recording by the layer pcap, or by tpm2-tss's module pcap. It must be given, \
               and ends at the first comma.",
    },
    Setting {
        key: "match",
        value: "strict|code",
        default: "strict",
        text: "With strict, a command must equal the recorded one, except for the nonces that \
               a program draws. With code, only its command code must be equal.",
    },
];
const HELP: &Text = &setting::help(SETTINGS);
const WHO: &str = "replay";

/// A recording that answers in a TPM's place.
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::transport::replay::Replay;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("tpm.pcapng");
/// let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
/// let mut tpm = rusttcti::open(&format!("pcap,file={}:libtpms", file.display()))?;
/// let (mut recorded, mut replayed) = ([0; 4096], [0; 4096]);
/// tpm.transmit(&get_random)?;
/// tpm.receive(&mut recorded, None)?;
///
/// let mut tpm = Replay::open(&file)?;
/// tpm.transmit(&get_random)?;
/// tpm.receive(&mut replayed, None)?;
/// assert_eq!(replayed, recorded);
/// let error = tpm.transmit(&get_random).expect_err("the end");
/// assert!(error.to_string().contains("the recording ends after 1 commands"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replay {
    file: PathBuf,
    script: Script,
    /// The response to the command under way; `None` if none was recorded.
    response: Option<Option<Vec<u8>>>,
    /// Readable while a response is there, once it was asked for.
    event: Option<Timer>,
}

impl Replay {
    /// Opens a recording, with `match=strict`.
    ///
    /// # Errors
    /// Those of reading the file; [`ErrorKind::BadValue`] for a file that is no
    /// recording.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        Self::with(file.as_ref(), Match::Strict)
    }

    fn with(file: &Path, matching: Match) -> Result<Self> {
        let opening = Opening::begin();
        let bytes = std::fs::read(file).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
                _ => ErrorKind::IoError,
            };
            let message = format!("cannot read the recording {}", file.display());
            Error::with_source(kind, message, error)
        })?;
        let script = Script::parse(&bytes, matching)
            .map_err(|error| error.context(format!("cannot replay {}", file.display())))?;
        opening.done(|| format!("replay: the recording \"{}\"", file.display()));
        Ok(Self {
            file: file.to_owned(),
            script,
            response: None,
            event: None,
        })
    }
}

/// The parsed CONF.
#[derive(Debug)]
pub(crate) struct Config {
    file: PathBuf,
    matching: Match,
}

impl Module for Replay {
    const NAME: &'static CStr = c"replay";
    const DESCRIPTION: &'static CStr = c"a recording that answers in a TPM's place";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        <Self as Configured>::open(&Self::parse(conf)?)
    }
}

impl Configured for Replay {
    type Config = Config;

    fn parse(conf: Option<&str>) -> Result<Config> {
        let conf = conf.unwrap_or_default();
        let (file, options) = conf.split_once(',').unwrap_or((conf, ""));
        let mut matching = Match::Strict;
        for (key, value) in config::pairs(options)? {
            matching = match (key, value) {
                ("match", "strict") => Match::Strict,
                ("match", "code") => Match::Code,
                ("match", _) => return Err(config::bad_value(WHO, key, value, "strict or code")),
                _ => return Err(config::unknown_key(WHO, key, &setting::keys(SETTINGS))),
            };
        }
        if file.is_empty() {
            return Err(Error::new(
                ErrorKind::BadValue,
                "replay needs the recording to answer from (as in replay:tpm.pcapng; the layer \
                 pcap makes one)",
            ));
        }
        let file = file.into();
        Ok(Config { file, matching })
    }

    fn open(config: &Config) -> Result<Self> {
        Self::with(&config.file, config.matching)
    }
}

/// There is nothing to cancel: the response is there already.
struct Done;

impl Cancel for Done {
    fn cancel(&self) -> Result<()> {
        Ok(())
    }
}

impl Tcti for Replay {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let answer = self.script.answer(command).map_err(|error| {
            let file = self.file.display();
            Error::new(error.kind(), format!("replay of {file}: {error}"))
        })?;
        self.response = Some(answer);
        if let Some(event) = &self.event {
            event.expire();
        }
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        if let Some(event) = &self.event {
            event.set(None);
        }
        let answer = self.response.take();
        let answer = answer.ok_or_else(|| Error::from(ErrorKind::BadSequence))?;
        let answer = answer.ok_or_else(|| {
            let file = self.file.display();
            let text = format!("replay of {file}: no response to this command was recorded");
            Error::new(ErrorKind::IoError, text)
        })?;
        let (length, room) = (answer.len(), response.len());
        let Some(to) = response.get_mut(..length) else {
            let text =
                format!("the recorded response has {length} bytes, but the buffer has {room}");
            return Err(Error::new(ErrorKind::MalformedResponse, text));
        };
        to.copy_from_slice(&answer);
        Ok(length)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(Arc::new(Done))
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        if self.event.is_none() {
            let event = Timer::new()?;
            if self.response.is_some() {
                event.expire();
            }
            self.event = Some(event);
        }
        Ok(self.event.iter().map(Timer::poll_handle).collect())
    }

    /// Accepts every locality: a recording has no localities.
    fn set_locality(&mut self, locality: u8) -> Result<()> {
        check_locality(locality)
    }

    /// Does nothing: recorded responses do not depend on power.
    fn reset(&mut self) -> Result<()> {
        Ok(())
    }
}
