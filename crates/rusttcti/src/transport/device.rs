// SPDX-License-Identifier: BSD-2-Clause
//! The TPM driver of the Linux kernel, through /dev/tpmrm0 or /dev/tpm0.
//!
//! A write gives the driver one command, and a read returns the response. The buffer
//! here is always large enough for the whole response, so it does not matter that newer
//! kernels (5.2) can also return it in parts.
//!
//! Since Linux 4.20 a write with O_NONBLOCK returns at once, and a worker of the kernel
//! talks to the TPM. The worker holds the lock that read(2) and poll(2) take first. So
//! even a poll with a timeout of 0 waits as long as the TPM computes. An edge-triggered
//! epoll that watched the descriptor before does not: it asks the driver only after the
//! driver wakes it, and by then the lock is free. So this transport waits on such an
//! epoll, which is also the poll handle. Older kernels have no poll. There the write
//! waits for the TPM, and the response is ready when it returns.

#![forbid(unsafe_code)]

mod node;

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::io::Errno;

use super::open_log::Opening;
use super::sent_command::{SLICE, SentCommand};
use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::log;
use crate::wire::assembly::Assembly;
use crate::{Error, ErrorKind, Module, Peer, PollHandle, Result, Tcti};
use node::Node;

/// The devices that are tried in this order if none is named.
const DEFAULTS: [&str; 3] = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcm0"];

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "",
    value: "PATH",
    default: "/dev/tpmrm0, /dev/tpm0, /dev/tcm0",
    text: "A TPM's character device. Without a path, the default devices are tried in their \
           order, and the first that opens is used.",
}];
const HELP: &Text = &setting::help(SETTINGS);

/// A TPM behind the kernel's driver.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::device::Device;
///
/// let tpm = Device::init(Some("/dev/tpmrm0"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Device {
    path: String,
    /// `None` after the device was removed, until the next command opens it again.
    node: Option<Node>,
    partial: Assembly,
    sent_command: SentCommand,
}

impl Module for Device {
    const NAME: &'static CStr = c"device";
    const DESCRIPTION: &'static CStr = c"the Linux kernel's TPM driver";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Device {
    /// The path; `None` for the first default device that opens.
    type Config = Option<String>;

    fn parse(conf: Option<&str>) -> Result<Option<String>> {
        Ok(conf.filter(|path| !path.is_empty()).map(str::to_owned))
    }

    fn open(path: &Option<String>) -> Result<Self> {
        let opening = Opening::begin();
        let (path, node) = match path.as_deref() {
            None => first_of(&DEFAULTS)?,
            Some(path) => {
                let node = Node::open(path);
                let node = node.map_err(|error| error.context(format!("cannot open {path}")));
                let node = node.map_err(flat)?;
                if node.is_terminal() {
                    log::warning!(
                        "\"{path}\" is a terminal or a serial line, not the device of a TPM (a \
                         program that speaks to a TPM over it is cmd:COMMAND)"
                    );
                }
                (path, node)
            }
        };
        opening.done(|| format!("device: the TPM device \"{path}\""));
        Ok(Self {
            path: path.to_owned(),
            node: Some(node),
            partial: Assembly::default(),
            sent_command: SentCommand::default(),
        })
    }
}

/// Returns the first of these devices that opens.
fn first_of(paths: &[&'static str]) -> Result<(&'static str, Node)> {
    let mut failures = Vec::new();
    let mut kind = ErrorKind::IoError;
    for path in paths {
        match Node::open(path) {
            Ok(node) => return Ok((path, node)),
            Err(error) => {
                // A TPM that exists but is not permitted is the more useful error.
                if error.kind() == ErrorKind::NotPermitted {
                    kind = ErrorKind::NotPermitted;
                }
                failures.push(format!("{path}: {error}"));
            }
        }
    }
    Err(Error::new(
        kind,
        format!("no TPM device can be opened: {}", failures.join("; ")),
    ))
}

/// Joins an error and its causes into one sentence, so that the path stands in front.
fn flat(error: Error) -> Error {
    Error::new(error.kind(), error.report())
}

impl Device {
    fn failed(&mut self, doing: &str, errno: Errno) -> Error {
        let kind = match errno {
            // The chip or its driver was removed.
            Errno::PIPE | Errno::NODEV | Errno::NXIO => {
                self.node = None;
                ErrorKind::NoConnection
            }
            Errno::TOOBIG => ErrorKind::BadValue,
            Errno::ACCESS | Errno::PERM => ErrorKind::NotPermitted,
            Errno::NOMEM => ErrorKind::Memory,
            // Also ETIME and ETIMEDOUT, which are the driver's own timeouts for the
            // TPM, not the caller's.
            _ => ErrorKind::IoError,
        };
        let cause = std::io::Error::from(errno);
        flat(Error::new(kind, cause).context(format!("{doing} {}", self.path)))
    }
}

impl Device {
    /// Receives until the timeout, without logging a long wait.
    fn receive_within(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let Some(node) = &mut self.node else {
            return Err(ErrorKind::NoConnection.into());
        };
        node.check()?;
        let deadline = Deadline::after(timeout.or(Some(SLICE)));
        let mut failure = None;
        let result = self.partial.receive(response, |room| {
            node.read(room, deadline).map_err(|errno| {
                failure = Some(errno);
                match errno {
                    Errno::AGAIN => ErrorKind::TryAgain.into(),
                    _ => ErrorKind::IoError.into(),
                }
            })
        });
        let sent_command = self.sent_command;
        let result =
            result.and_then(|size| sent_command.check_echo(&response[..size]).map(|()| size));
        match &result {
            Ok(_) => node.answered(),
            Err(error) if error.kind() == ErrorKind::TryAgain => {}
            Err(_) => node.unsettled(),
        }
        match failure {
            None | Some(Errno::AGAIN) => result,
            // A Node returns this if a read brought nothing.
            Some(Errno::NODATA) => Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "{} has no response, or only a part of it: the kernel keeps a response for \
                     60 to 120 s",
                    self.path
                ),
            )),
            Some(errno) => Err(self.failed("cannot read the response from", errno)),
        }
    }
}

impl Tcti for Device {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.sent_command.note(command);
        self.partial.clear();
        let node = match &mut self.node {
            Some(node) => {
                node.check()?;
                node
            }
            node => {
                let opened = Node::open(&self.path)
                    .map_err(|error| error.context(format!("cannot open {} anew", self.path)));
                node.insert(opened.map_err(flat)?)
            }
        };
        match node.send(command, Deadline::after(Some(PATIENCE))) {
            Ok(()) => Ok(()),
            Err(Errno::AGAIN) => Err(Error::new(
                ErrorKind::IoError,
                format!("{} took no command for {PATIENCE:?}", self.path),
            )),
            Err(errno) => Err(self.failed("cannot write a command to", errno)),
        }
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = |transport: &mut Self, timeout| transport.receive_within(response, timeout);
        self.sent_command
            .receive(self, timeout, receive, |transport| transport.path.clone())
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        match &self.node {
            Some(node) => node
                .check()
                .map(|()| vec![PollHandle::readable(node.handle().as_raw_fd())]),
            None => Err(ErrorKind::NoConnection.into()),
        }
    }

    /// Opens the device again for the child. This works for /dev/tpmrm0, and fails for
    /// /dev/tpm0, which only one process at a time can open.
    fn after_fork(&mut self) -> Result<()> {
        self.partial.clear();
        let node = Node::open(&self.path).map_err(|error| {
            let text = format!(
                "a forked child needs a connection of its own to {}",
                self.path
            );
            flat(Error::new(ErrorKind::BadContext, error.report()).context(text))
        })?;
        self.node = Some(node);
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        let path = std::fs::canonicalize(&self.path).ok();
        let name = path.as_deref().and_then(|path| path.file_name()?.to_str());
        Some(Peer {
            // Each connection to the kernel's resource manager has its own objects. Any
            // other device accepts one connection only.
            identity: None,
            is_exclusive: true,
            is_kernel_manager: name.is_some_and(|name| name.starts_with("tpmrm")),
            has_view: false,
        })
    }

    /// Closes the device. If a command is under way, the kernel waits for its end.
    fn finalize(&mut self) -> Result<()> {
        self.node = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_that_users_are_told_is_what_is_tried() {
        assert_eq!(super::SETTINGS[0].default, super::DEFAULTS.join(", "));
    }
}
