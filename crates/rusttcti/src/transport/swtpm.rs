// SPDX-License-Identifier: BSD-2-Clause
//! A TPM in a process of swtpm, over TCP or a unix socket.
//!
//! The data channel carries bare TPM commands and responses. swtpm serves one
//! connection at a time; the others wait in its backlog. So by default each command has
//! its own connection, and several processes can share one swtpm.
//!
//! `persistent=1` keeps the connection: a command takes less than half the time.
//! As long as a context has it open, no other process is served by this swtpm;
//! the contexts of one process share it, one command at a time.
//!
//! The control channel (TCP: the next port; unix: the path with `.ctrl`) sets the
//! locality and resets the TPM. swtpm has one locality for all its users. A context
//! sets its own locality before each of its commands, and 0 afterwards.
//!
//! Commands cannot be cancelled: swtpm reads its control channel only between commands.

#![forbid(unsafe_code)]

mod control;
mod hint;
mod shared;

use std::ffi::CStr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::open_log::Opening;
use super::sent_command::SentCommand;
use super::socket::{
    Endpoint, HOST, Inbox, PATH, PORT, PeerAddress, Stream, WAIT, parse_wait, until_there,
};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::fork::Generation;
use crate::sys::log;
use crate::wire::assembly::quoted;
use crate::wire::frame::raw;
use crate::{Error, ErrorKind, Module, Peer, PollHandle, Result, Tcti, config};
use control::Control;
use hint::Hint;
use shared::SharedConnection;

const WHO: &str = "swtpm";

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[
    HOST,
    PORT,
    PATH,
    Setting {
        key: "persistent",
        value: "0|1",
        default: "0",
        text: "With 0, each command has its own connection, and several processes can share \
               one swtpm. With 1, the connection is kept while a context is open: a command \
               takes less than half the time, and no other process is served meanwhile. The \
               contexts of one process share the connection.",
    },
    WAIT,
];
const HELP: &Text = &setting::help(SETTINGS);

/// The transport to swtpm.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::swtpm::Swtpm;
///
/// let tpm = Swtpm::init(Some("path=/run/swtpm.sock,persistent=1"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Swtpm {
    data: Endpoint,
    control: Control,
    /// The connection that the contexts of this process share, if they do.
    shared: Option<Arc<SharedConnection>>,
    /// The connection of the command under way.
    stream: Option<Stream>,
    /// Whether that command is longer than swtpm reads.
    is_too_long: bool,
    /// The next command's socket, if its descriptor was asked for.
    socket: Option<Stream>,
    inbox: Inbox,
    sent_command: SentCommand,
    hint: Hint,
    /// How long to wait for an swtpm that is not there.
    wait: Duration,
    locality: u8,
    generation: Generation,
}

impl Module for Swtpm {
    const NAME: &'static CStr = c"swtpm";
    const DESCRIPTION: &'static CStr = c"a TPM in a process of swtpm, over TCP or a unix socket";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Swtpm {
    type Config = Config;

    fn parse(conf: Option<&str>) -> Result<Config> {
        conf.unwrap_or_default().parse()
    }

    fn open(config: &Config) -> Result<Self> {
        let opening = Opening::begin();
        let swtpm = until_there(config.wait, || Self::reach(config))?;
        opening.done(|| match config.persistent {
            true => format!("{}, over one connection (persistent=1)", swtpm.data),
            false => swtpm.data.to_string(),
        });
        Ok(swtpm)
    }
}

impl Swtpm {
    /// Opens the transport, if swtpm is there.
    fn reach(config: &Config) -> Result<Self> {
        let (mut data, control) = config.address.resolve(WHO)?;
        let mut shared = None;
        if config.persistent {
            shared = Some(SharedConnection::of(&data)?);
        } else {
            // Tells now, rather than at the first command, that none is there.
            data.probe(Deadline::after(Some(PATIENCE)))?;
        }
        let mut control = Control::new(control);
        match control.set_locality(0) {
            Err(error) if matches!(error.kind(), ErrorKind::NoConnection | ErrorKind::TryAgain) => {
                // It has no control channel, or is busy with a long command.
                log::debug!("swtpm's locality is left as it is: {}", error.report());
            }
            done => done?,
        }
        data.learn_from(control.endpoint());
        Ok(Self {
            data,
            control,
            shared,
            stream: None,
            socket: None,
            inbox: Inbox::default(),
            sent_command: SentCommand::default(),
            hint: Hint::default(),
            wait: config.wait,
            is_too_long: false,
            locality: 0,
            generation: Generation::current(),
        })
    }
}

/// What swtpm reads of a command at most, as TPMs do. It takes what is behind
/// that for another command, and answers both: no connection is used again
/// after a longer one.
const LONGEST: usize = 4096;

/// The parsed CONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where swtpm listens.
    pub address: PeerAddress,
    /// Whether the connection is kept while a context is open.
    pub persistent: bool,
    /// How long to wait for an swtpm that is not there.
    pub wait: Duration,
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(conf: &str) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in config::pairs(conf)? {
            match (key, value) {
                ("persistent", "0") => config.persistent = false,
                ("persistent", "1") => config.persistent = true,
                ("persistent", _) => return Err(config::bad_value(WHO, key, value, "0 or 1")),
                ("wait", _) => config.wait = parse_wait(WHO, value)?,
                _ if config.address.take(WHO, key, value)? => {}
                _ => return Err(config::unknown_key(WHO, key, &setting::keys(SETTINGS))),
            }
        }
        Ok(config)
    }
}

impl Swtpm {
    /// Receives until the timeout, without logging a long wait.
    fn receive_within(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.generation.check()?;
        let Some(stream) = &self.stream else {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "no command was sent to swtpm",
            ));
        };
        let deadline = Deadline::after(timeout);
        let capacity = response.len();
        let received = self
            .inbox
            .receive(&self.data, stream, capacity, deadline, false, |bytes| {
                length(&self.data, bytes, capacity)
            });
        let sent_command = self.sent_command;
        let received = received.and_then(|bytes| sent_command.check_echo(bytes).map(|()| bytes));
        match received {
            Ok(bytes) => {
                let count = bytes.len();
                self.hint.look_at(bytes, sent_command, &self.data);
                response[..count].copy_from_slice(bytes);
                self.inbox.clear();
                if self.is_too_long {
                    self.abandon();
                    return Ok(count);
                }
                let stream = self.stream.take();
                match &self.shared {
                    Some(shared) => shared.give_back(stream),
                    None => drop(stream),
                }
                self.restore_locality();
                Ok(count)
            }
            Err(error) if error.kind().leaves_command_pending() => Err(error),
            Err(error) => {
                self.abandon();
                Err(match self.shared {
                    Some(_) => hint::for_persistent(error),
                    None => error,
                })
            }
        }
    }
}

impl Tcti for Swtpm {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.sent_command.note(command);
        self.generation.check()?;
        // Of a command that was given up.
        self.abandon();
        until_there(self.wait, || self.send(command))
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = |transport: &mut Self, timeout| transport.receive_within(response, timeout);
        self.sent_command
            .receive(self, timeout, receive, |transport| {
                transport.data.to_string()
            })
    }

    /// Returns the connection's descriptor from `transmit` to the response. Before
    /// `transmit`, by default, it is that of the socket that the next command will use.
    /// This socket is not connected yet, so poll(2) reports POLLHUP.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let fd = match (&self.stream, &self.shared) {
            (Some(stream), _) => stream.raw_fd(),
            (None, Some(shared)) => shared.raw_fd()?,
            (None, None) => match &self.socket {
                Some(socket) => socket.raw_fd(),
                None => self.socket.insert(self.data.socket()?).raw_fd(),
            },
        };
        Ok(vec![PollHandle::readable(fd)])
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        if locality > 4 {
            return Err(Error::new(
                ErrorKind::BadValue,
                format!("swtpm has no locality {locality} (it has 0 to 4)"),
            ));
        }
        self.control.set_locality(locality)?;
        if locality != 0 {
            self.control.set_locality(0)?;
        }
        self.locality = locality;
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.control.reset()
    }

    /// Drops the parent's connection: the next command makes a new one.
    ///
    /// # Errors
    /// [`ErrorKind::BadContext`] with `persistent=1`: swtpm serves the parent's
    /// connection, and no other.
    fn after_fork(&mut self) -> Result<()> {
        if self.shared.is_some() {
            return Err(Error::new(
                ErrorKind::BadContext,
                "this context was opened before fork() and belongs to the parent process, whose \
                 connection swtpm serves alone (without persistent=1, a child connects anew)",
            ));
        }
        self.stream = None;
        self.socket = None;
        self.is_too_long = false;
        self.inbox.clear();
        self.generation = Generation::current();
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            identity: Some(self.data.to_string()),
            is_exclusive: self.shared.is_some(),
            is_kernel_manager: false,
            has_view: false,
        })
    }

    fn finalize(&mut self) -> Result<()> {
        self.abandon();
        self.socket = None;
        self.shared = None;
        Ok(())
    }
}

impl Swtpm {
    /// Sends a command, in this context's locality.
    fn send(&mut self, command: &[u8]) -> Result<()> {
        if self.locality != 0 {
            self.control.set_locality(self.locality)?;
        }
        let sent = match &self.shared {
            Some(shared) => shared.send(&mut self.data, command, !self.wait.is_zero()),
            None => self.data.dial(self.socket.take(), &[], command),
        };
        match sent {
            Ok(stream) => {
                self.stream = Some(stream);
                self.is_too_long = command.len() > LONGEST;
                Ok(())
            }
            Err(error) => {
                self.restore_locality();
                Err(error)
            }
        }
    }

    /// Ends the command under way, if there is one, and its connection.
    fn abandon(&mut self) {
        self.inbox.clear();
        let Some(stream) = self.stream.take() else {
            return;
        };
        stream.end();
        if let Some(shared) = &self.shared {
            shared.give_back(None);
        }
        self.restore_locality();
    }

    /// Sets locality 0 for the next user of the swtpm.
    fn restore_locality(&mut self) {
        if self.locality == 0 {
            return;
        }
        if let Err(error) = self.control.set_locality(0) {
            log::warning!(
                "swtpm stays in locality {}: {}",
                self.locality,
                error.report()
            );
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // The other contexts of this process wait for the shared connection. A
        // forked child has none of it.
        if self.generation.is_current() {
            self.abandon();
        }
    }
}

/// Returns the length of a response, once its header has arrived.
fn length(who: &Endpoint, bytes: &[u8], capacity: usize) -> Result<Option<usize>> {
    raw::response_size(bytes, capacity).map_err(|error| {
        if let Some(error) = hint::for_control_channel(bytes, who) {
            return error;
        }
        Error::new(
            ErrorKind::MalformedResponse,
            format!("{who} sent a response with {error}{}", quoted(error, bytes)),
        )
    })
}
