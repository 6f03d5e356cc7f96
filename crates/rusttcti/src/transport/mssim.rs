// SPDX-License-Identifier: BSD-2-Clause
//! Microsoft's TPM simulator, and other programs that use its protocol, over TCP or a
//! unix socket.
//!
//! On the command channel, a command is sent as u32 8, u8 locality, u32 size and the
//! command. The answer is u32 size, the response, u32 0. All numbers are big-endian.
//! The platform channel (TCP: the next port; unix: the path with `.ctrl`) switches
//! power and cancels commands. Both stay open as long as the context.
//!
//! The simulator sends an answer as three packets, and waits until each is
//! acknowledged. The kernel delays an acknowledgement by 40 ms, unless TCP_QUICKACK is
//! set before each read.

#![forbid(unsafe_code)]

mod platform;

use std::ffi::CStr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::open_log::Opening;
use super::sent_command::SentCommand;
use super::socket::{
    Endpoint, Fault, HOST, Inbox, PATH, PORT, PeerAddress, Stream, WAIT, parse_wait, until_there,
};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::fork::Generation;
use crate::sys::log;
use crate::wire::frame::mssim::{self as frame, Signal};
use crate::wire::frame::{Decoded, FrameError};
use crate::{Cancel, Error, ErrorKind, Module, Peer, PollHandle, Result, Tcti, config};
use platform::Platform;

const WHO: &str = "mssim";

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[HOST, PORT, PATH, WAIT];
const HELP: &Text = &setting::help(SETTINGS);

/// The longest time for an answer to a signal if nothing is wrong.
const ANSWER: Duration = Duration::from_millis(100);

/// How long the last response is waited for when the context is closed, and once more
/// after a cancel.
const LAST_ANSWER: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 500 });
/// The size of the largest response that is waited for then.
const LARGEST: usize = 64 << 10;

/// The transport to the simulator.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::mssim::Mssim;
///
/// let tpm = Mssim::init(Some("host=localhost,port=2321"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Mssim {
    endpoint: Endpoint,
    platform: Arc<Platform>,
    /// None after it was lost, until the next command.
    stream: Option<Stream>,
    /// True from a command to its response.
    pending: bool,
    inbox: Inbox,
    sent_command: SentCommand,
    /// How long to wait for a simulator that is not there.
    wait: Duration,
    locality: u8,
    generation: Generation,
}

impl Module for Mssim {
    const NAME: &'static CStr = c"mssim";
    const DESCRIPTION: &'static CStr = c"Microsoft's TPM simulator, over TCP or a unix socket";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Mssim {
    type Config = Config;

    fn parse(conf: Option<&str>) -> Result<Config> {
        conf.unwrap_or_default().parse()
    }

    fn open(config: &Config) -> Result<Self> {
        let opening = Opening::begin();
        let mssim = until_there(config.wait, || Self::reach(config))?;
        opening.done(|| mssim.endpoint.to_string());
        Ok(mssim)
    }
}

impl Mssim {
    /// Opens the transport, if the simulator is there.
    fn reach(config: &Config) -> Result<Self> {
        let (endpoint, platform) = config.address.resolve(WHO)?;
        let mut mssim = Self {
            endpoint,
            platform: Arc::new(Platform::new(platform)),
            stream: None,
            pending: false,
            inbox: Inbox::default(),
            sent_command: SentCommand::default(),
            wait: config.wait,
            locality: 0,
            generation: Generation::current(),
        };
        let deadline = Deadline::after(Some(PATIENCE));
        mssim.stream = Some(mssim.connect(deadline)?);
        Ok(mssim)
    }
}

/// The parsed CONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where the simulator listens.
    pub address: PeerAddress,
    /// How long to wait for a simulator that is not there.
    pub wait: Duration,
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(conf: &str) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in config::pairs(conf)? {
            if key == WAIT.key {
                config.wait = parse_wait(WHO, value)?;
            } else if !config.address.take(WHO, key, value)? {
                return Err(config::unknown_key(WHO, key, &setting::keys(SETTINGS)));
            }
        }
        Ok(config)
    }
}

impl Mssim {
    /// Receives until the timeout, without logging a long wait.
    fn receive_within(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.generation.check()?;
        let (Some(stream), true) = (&self.stream, self.pending) else {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "no command was sent to the simulator",
            ));
        };
        let capacity = response.len();
        let deadline = Deadline::after(timeout);
        let received = self.inbox.receive(
            &self.endpoint,
            stream,
            capacity.saturating_add(frame::RESPONSE_HEAD + frame::DONE.len()),
            deadline,
            true,
            |bytes| {
                frame::response_size(bytes, capacity)
                    .map_err(|error| malformed(&self.endpoint, error))
            },
        );
        let unframed = received.and_then(|frame| body(&self.endpoint, frame));
        match unframed {
            Ok(body) => {
                let count = body.len();
                response[..count].copy_from_slice(body);
                self.inbox.clear();
                self.pending = false;
                self.uncancel_if_there_is_time(deadline);
                Ok(count)
            }
            Err(error) if error.kind().leaves_command_pending() => Err(error),
            Err(error) => {
                self.disconnect();
                Err(error)
            }
        }
    }
}

impl Tcti for Mssim {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.sent_command.note(command);
        self.generation.check()?;
        if self.pending {
            // Its answer, still to come, would be taken for this one's.
            self.disconnect();
        }
        until_there(self.wait, || self.send(command))
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = |transport: &mut Self, timeout| transport.receive_within(response, timeout);
        self.sent_command
            .receive(self, timeout, receive, |transport| {
                transport.endpoint.to_string()
            })
    }

    /// Returns a canceller on the platform channel, for which the simulator has a
    /// separate thread.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(self.platform.clone())
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        match &self.stream {
            Some(stream) => Ok(vec![PollHandle::readable(stream.raw_fd())]),
            None => Err(Error::new(
                ErrorKind::BadSequence,
                "there is no connection to poll before the next transmit",
            )),
        }
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.locality = locality;
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        let deadline = Deadline::after(Some(PATIENCE));
        self.platform.power_off(deadline)?;
        self.platform
            .power_on(&mut self.endpoint, deadline)
            .map(drop)
    }

    /// The simulator serves one client.
    fn peer(&mut self) -> Option<Peer> {
        Some(Peer {
            is_exclusive: true,
            ..Peer::default()
        })
    }

    /// Waits a short time for a response that was not received: SIGPIPE ends the
    /// reference simulator if it answers a client that has closed the connection.
    fn finalize(&mut self) -> Result<()> {
        self.wait_for_last_answer();
        let uncancelled = self.platform.uncancel(Deadline::after(Some(PATIENCE)));
        self.disconnect();
        self.platform.disconnect();
        uncancelled
    }
}

impl Mssim {
    /// Sends a command, over a new connection if the old one was lost.
    fn send(&mut self, command: &[u8]) -> Result<()> {
        let deadline = Deadline::after(Some(PATIENCE));
        self.platform.uncancel(deadline)?;
        let size = u32::try_from(command.len())
            .map_err(|error| Error::with_source(ErrorKind::BadValue, "a huge command", error))?;
        let head = frame::command_head(self.locality, size);

        let stream = match self.working() {
            // Not all of it was sent, so that it was not executed.
            Some(stream) => match self.endpoint.send(&stream, &head, command, deadline) {
                Err(error) if error.kind() == ErrorKind::NoConnection => None,
                sent => sent.map(|()| Some(stream))?,
            },
            None => None,
        };
        let stream = match stream {
            Some(stream) => stream,
            None => {
                let stream = self.connect(deadline)?;
                self.endpoint.send(&stream, &head, command, deadline)?;
                stream
            }
        };
        self.stream = Some(stream);
        self.pending = true;
        Ok(())
    }

    /// Returns a command channel to a simulator that has power.
    ///
    /// It connects to the command channel only after the platform channel is served:
    /// two clients that have one channel each would wait for each other for ever.
    fn connect(&mut self, deadline: Deadline) -> Result<Stream> {
        let early = match self.platform.power_on(&mut self.endpoint, deadline) {
            Ok(early) => early,
            Err(error) => {
                if error.kind() == ErrorKind::NoConnection {
                    // The user gave the address of the command channel.
                    self.endpoint.connect(deadline)?;
                }
                return Err(error);
            }
        };
        let mut stream = match early {
            Some(stream) => stream,
            None => self.endpoint.connect(deadline)?,
        };
        stream.set_nodelay();
        stream.set_blocking(true).map_err(|fault: Fault| {
            fault.error(format!("cannot set up the connection to {}", self.endpoint))
        })?;
        Ok(stream)
    }

    /// Waits for the answer to the command under way, and cancels the command if that
    /// takes long.
    fn wait_for_last_answer(&mut self) {
        if !self.pending {
            return;
        }
        let mut response = vec![0; LARGEST];
        let received = self.receive_within(&mut response, Some(LAST_ANSWER));
        let is_late = |error: &Error| error.kind() == ErrorKind::TryAgain;
        if !received.is_err_and(|error| is_late(&error)) {
            return;
        }
        let cancelled = self.platform.cancel_by(Deadline::after(Some(LAST_ANSWER)));
        let received =
            cancelled.and_then(|()| self.receive_within(&mut response, Some(LAST_ANSWER)));
        if let Err(error) = received {
            log::debug!(
                "mssim: the connection is closed while a command is under way: {}",
                error.report()
            );
        }
    }

    /// Returns the connection, if there is one that works. The simulator may have been
    /// restarted, or may have sent bytes before a command, which would be taken for the
    /// next answer.
    fn working(&mut self) -> Option<Stream> {
        let stream = self.stream.take()?;
        if stream.is_quiet() {
            return Some(stream);
        }
        stream.end();
        None
    }

    /// Withdraws a cancel before it reaches another command, unless the caller's time
    /// is up: then the next transmit withdraws it.
    fn uncancel_if_there_is_time(&self, deadline: Deadline) {
        let in_a_hurry = || deadline.remaining().is_some_and(|left| left < ANSWER);
        if !self.platform.is_cancelled() || in_a_hurry() {
            return;
        }
        if let Err(error) = self.platform.uncancel(deadline.or_after(PATIENCE)) {
            log::debug!("{}", error.report());
        }
    }

    fn disconnect(&mut self) {
        self.inbox.clear();
        self.pending = false;
        if let Some(stream) = self.stream.take() {
            // It may be gone, or not read: no matter.
            let _ = stream.send(&[], &Signal::SessionEnd.encode(), Deadline::Now);
            stream.end();
        }
    }
}

/// Returns the error for a malformed response, with the name of the peer.
fn malformed(who: &Endpoint, error: FrameError) -> Error {
    let text = match error {
        FrameError::Empty => {
            format!(
                "{who} sent an empty response: its TPM has no power (the next command switches \
                 it on)"
            )
        }
        error => format!("{who} sent a response with {error}"),
    };
    Error::new(ErrorKind::MalformedResponse, text)
}

/// Returns the response in a whole frame.
fn body<'a>(who: &Endpoint, frame: &'a [u8]) -> Result<&'a [u8]> {
    match frame::decode_response(frame, frame.len()) {
        Ok(Decoded::Message(response, _)) => Ok(response),
        Ok(Decoded::Needs(_)) => Err(ErrorKind::MalformedResponse.into()),
        Err(error) => Err(malformed(who, error)),
    }
}
