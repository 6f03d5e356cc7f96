// SPDX-License-Identifier: BSD-2-Clause
//! A TPM behind a shell command. `/bin/sh -c` runs the command, which reads TPM
//! commands from its standard input and writes the responses to its standard output, as
//! `tpm2_send` does.
//!
//! A thread starts the command, copies its messages to the program's standard error,
//! and ends it. If the command ends early, the TPM command under way fails, with the
//! exit status and the last message in the error. The next TPM command starts the shell
//! command again.

#![forbid(unsafe_code)]

mod child;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use child::stand_in;

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::open_log::Opening;
use super::sent_command::{SLICE, SentCommand};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::wire::assembly::Assembly;
use crate::{Error, ErrorKind, Module, Peer, PollHandle, Result, Tcti};
use child::{Child, Ending};

/// How long after the end of the output the exit status may come.
const AFTER_THE_END: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 1000 });

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "",
    value: "COMMAND",
    default: "",
    text: "A command line for /bin/sh -c, which must not be empty. The command must read TPM \
           commands from its standard input, and write the responses and nothing else to its \
           standard output. Its standard error is that of the program.",
}];
const HELP: &Text = &setting::help(SETTINGS);

/// A TPM at the other end of a command's pipes.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::cmd::Cmd;
///
/// let tpm = Cmd::init(Some("ssh host tpm2_send"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Cmd {
    command: String,
    /// `None` after a failure, until the next TPM command starts the command again.
    child: Option<Child>,
    partial: Assembly,
    sent_command: SentCommand,
    /// When stdout reached EOF before the exit status was known.
    closed: Option<Instant>,
}

impl Module for Cmd {
    const NAME: &'static CStr = c"cmd";
    const DESCRIPTION: &'static CStr = c"a command that reads TPM commands and writes responses";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Cmd {
    /// The command line.
    type Config = String;

    fn parse(conf: Option<&str>) -> Result<String> {
        let command = conf.unwrap_or_default().to_owned();
        if command.trim().is_empty() {
            return Err(Error::new(
                ErrorKind::BadValue,
                "cmd needs a command line for /bin/sh -c, as in cmd:\"ssh host tpm2_send\"",
            ));
        }
        Ok(command)
    }

    fn open(command: &String) -> Result<Self> {
        let opening = Opening::begin();
        let child = Child::start(command)?;
        opening.done(|| format!("cmd: the command \"{command}\""));
        Ok(Self {
            child: Some(child),
            command: command.clone(),
            partial: Assembly::default(),
            sent_command: SentCommand::default(),
            closed: None,
        })
    }
}

impl Cmd {
    /// Ends a command that has ended itself or answers out of order, and returns the
    /// error.
    fn failed(&mut self, error: Error) -> Error {
        self.closed = None;
        if let Some(mut child) = self.child.take() {
            // Its owner can do nothing about it.
            let _ = child.end(Ending::AtOnce);
        }
        error
    }

    /// Returns the reason why the command's output has ended; TryAgain if the reason
    /// may be known only after the deadline.
    fn gone(&mut self, deadline: Deadline) -> Error {
        let since = *self.closed.get_or_insert_with(Instant::now);
        let left = AFTER_THE_END.saturating_sub(since.elapsed());
        let wait = deadline.remaining().map_or(left, |time| time.min(left));
        let ended = self.child.as_ref().and_then(|child| child.ended(wait));
        let how = match ended {
            Some(ended) => ended,
            None if wait < left => return ErrorKind::TryAgain.into(),
            None => "closed its output".to_owned(),
        };
        let text = format!("the command \"{}\" {how}", self.command);
        self.failed(Error::new(ErrorKind::NoConnection, text))
    }

    fn broken(&mut self, doing: &str, errno: Errno) -> Error {
        let cause = std::io::Error::from(errno);
        let text = format!("cannot {doing} the command \"{}\"", self.command);
        self.failed(Error::with_source(ErrorKind::IoError, text, cause))
    }

    /// Fails if the command has written bytes before a TPM command was sent: they would
    /// be taken for the response to the next one.
    fn check_silence(&mut self) -> Result<()> {
        let Some(child) = &self.child else {
            return Ok(());
        };
        match rustix::io::ioctl_fionread(child.stdout()) {
            Ok(0) => Ok(()),
            Ok(_) => {
                let text = format!(
                    "the command \"{}\" wrote to its output before a TPM command was sent",
                    self.command
                );
                Err(self.failed(Error::new(ErrorKind::MalformedResponse, text)))
            }
            Err(errno) => Err(self.broken("read from", errno)),
        }
    }
}

impl Cmd {
    /// Receives until the timeout, without logging a long wait.
    fn receive_within(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let Some(child) = &self.child else {
            return Err(ErrorKind::NoConnection.into());
        };
        child.check()?;
        let deadline = Deadline::after(timeout.or(Some(SLICE)));
        let mut closed = false;
        let result = self.partial.receive(response, |room| {
            let count = child.read(room, deadline)?;
            if count == 0 {
                closed = true;
                return Err(ErrorKind::NoConnection.into());
            }
            Ok(count)
        });
        let sent_command = self.sent_command;
        let result =
            result.and_then(|size| sent_command.check_echo(&response[..size]).map(|()| size));
        match result {
            Ok(size) => Ok(size),
            Err(error) if error.kind().leaves_command_pending() => Err(error),
            Err(_) if closed => Err(self.gone(deadline)),
            Err(error) => {
                let text = format!("the command \"{}\": {error}", self.command);
                Err(self.failed(Error::new(error.kind(), text)))
            }
        }
    }
}

impl Tcti for Cmd {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.sent_command.note(command);
        self.partial.clear();
        match &self.child {
            Some(child) => child.check()?,
            None => self.child = Some(Child::start(&self.command)?),
        }
        self.check_silence()?;
        let deadline = Deadline::after(Some(PATIENCE));
        let mut left = command;
        while let (Some(child), false) = (&self.child, left.is_empty()) {
            match rustix::io::write(child.stdin(), left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match child.wait_for_room(deadline) {
                    Ok(true) => {}
                    Ok(false) => return Err(self.gone(Deadline::Never)),
                    Err(_) => {
                        let text = format!(
                            "the command \"{}\" reads no TPM command for {PATIENCE:?}",
                            self.command
                        );
                        return Err(self.failed(Error::new(ErrorKind::IoError, text)));
                    }
                },
                Err(errno) => return Err(self.broken("write to", errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = |transport: &mut Self, timeout| transport.receive_within(response, timeout);
        self.sent_command
            .receive(self, timeout, receive, |transport| {
                format!("the command \"{}\"", transport.command)
            })
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        match &self.child {
            Some(child) => child
                .check()
                .map(|()| vec![PollHandle::readable(child.stdout().as_raw_fd())]),
            None => Err(ErrorKind::NoConnection.into()),
        }
    }

    /// Returns the default: another program may use the TPM that the command reaches.
    fn peer(&mut self) -> Option<Peer> {
        Some(Peer::default())
    }

    /// Closes the command's pipes and waits for its end. After one second it gets
    /// SIGTERM, after another one SIGKILL.
    fn finalize(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) if child.check().is_ok() => child.end(Ending::Gently),
            _ => Ok(()),
        }
    }
}
