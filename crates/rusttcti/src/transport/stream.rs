// SPDX-License-Identifier: BSD-2-Clause
//! A TPM at the other end of any byte stream, which carries commands and responses
//! without frames around them.
//!
//! The stream's descriptor is non-blocking (O_NONBLOCK); poll(2) waits, with the
//! caller's deadline. After a failure in the middle of an exchange it is unknown where
//! the next response begins. So the stream is closed, and each later call fails with
//! the reason.

#![forbid(unsafe_code)]

mod pipes;

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::ioctl_fionbio;
use rustix::net::{Shutdown, shutdown};

pub use pipes::Pipes;

use super::sent_command::{SLICE, SentCommand};
use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::fork::Generation;
use crate::sys::{poll, sigpipe};
use crate::wire::assembly::Assembly;
use crate::{Error, ErrorKind, PollHandle, Result, Tcti};

/// How long a descriptor is waited for that may be another one than the stream
/// writes to, until the write is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A TPM at the other end of a byte stream: a TCP connection, a unix socket, a
/// serial line, [a pair of pipes](Pipes). The stream carries whole TPM commands
/// one way and whole responses the other, with nothing in between.
///
/// ```no_run
/// use std::net::TcpStream;
///
/// use rusttcti::wire::{CommandBuilder, CommandCode};
/// use rusttcti::{Stream, TctiExt};
///
/// let mut tpm = Stream::new(TcpStream::connect("tpm.example:2321")?);
/// let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
/// let response = tpm.execute(&get_random, None)?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// It keeps what [`Tcti`] asks for:
///
/// - `transmit` fails after 5 s if the other end takes no more bytes.
/// - `receive` waits no longer than its timeout, wherever in a response the
///   other end pauses, and keeps what has come for the next call.
/// - [`poll_handles`](Tcti::poll_handles) gives the stream's descriptor.
/// - A failure in the middle of an exchange closes the stream, because bytes that
///   come late would be taken for the next response. So does a byte that comes
///   before a command was sent. Each later call fails with
///   [`ErrorKind::NoConnection`] and says why the stream was closed.
/// - Signals (EINTR) interrupt nothing, no SIGPIPE is raised, and in a forked
///   child each call fails with [`ErrorKind::BadContext`].
///
/// # Streams
///
/// `S` is any type that reads and writes, and whose [`AsFd`] is the descriptor
/// to poll for the response. A transport moves from one to another by changing
/// the type:
///
/// | `S` | the TPM |
/// | --- | --- |
/// | `TcpStream` | behind a network |
/// | `UnixStream` | a process on this machine |
/// | `File` | behind a serial line (`/dev/ttyS0`), opened for reading and writing |
/// | [`Pipes<ChildStdout, ChildStdin>`](Pipes) | a child process |
///
/// A stream from another crate (TLS, for instance) works if its `read` and `write`
/// return [`WouldBlock`](io::ErrorKind::WouldBlock) when its descriptor does. If it has
/// its own timeout, set that to 0.
///
/// Make the terminal of a serial line raw first: no echo, no lines, no control
/// characters. `stty -F /dev/ttyS0 raw -echo 115200` does that, and so does
/// `cfmakeraw(3)`. Also discard the input that an earlier program left (`tcflush(3)`).
///
/// [`new`](Stream::new) makes the stream's descriptor non-blocking. This includes all
/// copies of the descriptor, such as those of `try_clone`.
pub struct Stream<S> {
    line: Line<S>,
    /// The process that made it.
    generation: Generation,
    /// Whether a command was sent whose response has not come.
    awaited: bool,
    partial: Assembly,
    sent_command: SentCommand,
}

enum Line<S> {
    Open(S),
    /// Closed after this failure.
    Lost(Error),
    /// Closed by `finalize`.
    Ended,
}

impl<S: Read + Write + AsFd> Stream<S> {
    /// Takes a stream that is connected and in step: the next bytes that it delivers
    /// are the response to the next command.
    pub fn new(stream: S) -> Self {
        let line = match ioctl_fionbio(stream.as_fd(), true) {
            Ok(()) => Line::Open(stream),
            Err(errno) => Line::Lost(Error::with_source(
                ErrorKind::IoError,
                "cannot make the stream's descriptor non-blocking",
                io::Error::from(errno),
            )),
        };
        Self {
            line,
            generation: Generation::current(),
            awaited: false,
            partial: Assembly::default(),
            sent_command: SentCommand::default(),
        }
    }

    /// Returns the stream; `None` once it was closed.
    pub fn get_ref(&self) -> Option<&S> {
        match &self.line {
            Line::Open(stream) => Some(stream),
            Line::Lost(_) | Line::Ended => None,
        }
    }

    /// Returns the stream, if it can be used.
    fn open(&mut self) -> Result<&mut S> {
        self.generation.check()?;
        match &mut self.line {
            Line::Open(stream) => Ok(stream),
            Line::Lost(why) => Err(Error::with_source(
                ErrorKind::NoConnection,
                format!("the connection to the TPM was lost: {}", why.report()),
                why.clone(),
            )),
            Line::Ended => Err(Error::new(
                ErrorKind::NoConnection,
                "the connection to the TPM was closed",
            )),
        }
    }

    /// Closes the stream, for every process that has a copy of it.
    fn close(&mut self, now: Line<S>) {
        self.awaited = false;
        self.partial.clear();
        if let Line::Open(stream) = std::mem::replace(&mut self.line, now) {
            // What is no socket has no such call.
            let _ = shutdown(stream.as_fd(), Shutdown::Both);
            // It may write what it has buffered.
            sigpipe::shielded(|| drop(stream));
        }
    }

    /// Closes the stream because of `error`, which it returns.
    fn lose(&mut self, error: Error) -> Error {
        self.close(Line::Lost(error.clone()));
        error
    }
}

impl<S: Read + Write + AsFd + Send> Stream<S> {
    /// Receives until the timeout, without logging a long wait.
    fn receive_within(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let awaited = self.awaited;
        self.open()?;
        if !awaited {
            return Err(Error::new(ErrorKind::BadSequence, "no command was sent"));
        }
        let Line::Open(stream) = &mut self.line else {
            unreachable!("it is open")
        };
        let deadline = Deadline::after(timeout.or(Some(SLICE)));
        match self
            .partial
            .receive(response, |room| read(stream, room, deadline))
        {
            Ok(size) => {
                if let Err(error) = self.sent_command.check_echo(&response[..size]) {
                    return Err(self.lose(error));
                }
                self.awaited = false;
                Ok(size)
            }
            Err(error) if error.kind().leaves_command_pending() => Err(error),
            Err(error) => Err(self.lose(error)),
        }
    }
}

impl<S: Read + Write + AsFd + Send> Tcti for Stream<S> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let awaited = self.awaited;
        let stream = self.open()?;
        if awaited {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the response to the previous command was not received",
            ));
        }
        let sent = check_silence(stream)
            .and_then(|()| send(stream, command))
            .map_err(|error| self.lose(error))?;
        if !sent {
            return Err(takes_nothing(0, command.len()));
        }
        self.awaited = true;
        self.sent_command.note(command);
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let receive = |stream: &mut Self, timeout| stream.receive_within(response, timeout);
        let peer = |_: &Self| std::any::type_name::<S>().to_owned();
        self.sent_command.receive(self, timeout, receive, peer)
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let fd = self.open()?.as_fd().as_raw_fd();
        Ok(vec![PollHandle::readable(fd)])
    }

    fn finalize(&mut self) -> Result<()> {
        if self.generation.is_current() {
            self.close(Line::Ended);
        }
        Ok(())
    }
}

// Not derived, which would ask the stream for it.
impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match &self.line {
            Line::Open(_) => "open",
            Line::Lost(_) => "lost",
            Line::Ended => "closed",
        };
        f.debug_struct("Stream")
            .field("line", &line)
            .field("awaited", &self.awaited)
            .finish_non_exhaustive()
    }
}

/// Sends the command. Returns false if no byte of it was taken in time; the stream is
/// still in step then.
fn send(stream: &mut (impl Write + AsFd), command: &[u8]) -> Result<bool> {
    let deadline = Deadline::after(Some(PATIENCE));
    let mut sent = 0;
    let mut waited = false;
    loop {
        let step = sigpipe::shielded(|| match &command[sent..] {
            [] => stream.flush().map(|()| None),
            left => stream.write(left).map(Some),
        });
        match step {
            Ok(None) => return Ok(true),
            Ok(Some(0)) => return Err(takes_nothing(sent, command.len())),
            Ok(Some(count)) => {
                sent += count;
                waited = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_not_yet(&error) && deadline.is_over() => match sent {
                0 => return Ok(false),
                _ => return Err(takes_nothing(sent, command.len())),
            },
            Err(error) if is_not_yet(&error) => {
                if waited {
                    // The descriptor polls as ready, and is not: it is another one.
                    std::thread::sleep(LOOK_AGAIN / 10);
                }
                waited = true;
                wait_for_room(stream.as_fd(), deadline)?;
            }
            Err(error) => return Err(failed("cannot send the command", error)),
        }
    }
}

fn takes_nothing(sent: usize, size: usize) -> Error {
    Error::new(
        ErrorKind::IoError,
        format!(
            "the other end took {sent} of the command's {size} bytes, and no more for {PATIENCE:?}"
        ),
    )
}

/// Waits until the stream may take more bytes, or for a short time: of a pair of pipes,
/// the descriptor that is polled is the one for reading.
fn wait_for_room(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<()> {
    poll::one(fd, PollFlags::OUT, deadline.or_after(LOOK_AGAIN)).map_err(io::Error::from)?;
    Ok(())
}

/// Reads what has come, one byte or more, and waits for it until the deadline.
fn read(stream: &mut (impl Read + AsFd), room: &mut [u8], deadline: Deadline) -> Result<usize> {
    loop {
        match read_now(stream, room) {
            Ok(Some(0)) => return Err(gone()),
            Ok(Some(count)) => return Ok(count),
            Ok(None) => {
                let polled = poll::one(stream.as_fd(), PollFlags::IN, deadline);
                if !polled.map_err(io::Error::from)? {
                    return Err(ErrorKind::TryAgain.into());
                }
            }
            Err(error) => return Err(failed("cannot read the response", error)),
        }
    }
}

/// Reads what has come: `None` for nothing, 0 bytes at the stream's end.
fn read_now(stream: &mut (impl Read + AsFd), room: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(room) {
            // A terminal whose VMIN is 0 returns this if there is nothing to read.
            Ok(0) if !is_readable(stream.as_fd()) => return Ok(None),
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_not_yet(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Returns whether there is something to read, the stream's end included.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll::any(&mut fds, Deadline::Now) != Ok(false)
}

/// Fails if the other end has closed the stream, or has sent bytes before a command was
/// sent.
fn check_silence(stream: &mut (impl Read + AsFd)) -> Result<()> {
    match read_now(stream, &mut [0]) {
        Ok(None) => Ok(()),
        Ok(Some(0)) => Err(gone()),
        Ok(Some(_)) => Err(Error::new(
            ErrorKind::MalformedResponse,
            "the other end sent bytes that no command asked for; they would be taken for the \
             next response (flush the input of a serial line before you use it)",
        )),
        Err(error) => Err(failed("cannot read from the connection", error)),
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::NoConnection,
        "the other end closed the connection",
    )
}

/// Returns whether the error means that there is nothing to read, or no room to write.
fn is_not_yet(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        // A stream's own timeout, and not the system's ETIMEDOUT.
        io::ErrorKind::TimedOut => error.raw_os_error().is_none(),
        _ => false,
    }
}

/// Returns the error for a call that failed finally, whatever its code means elsewhere.
fn failed(doing: &str, error: io::Error) -> Error {
    let error = Error::from(error);
    match error.kind().leaves_command_pending() {
        true => Error::with_source(ErrorKind::IoError, doing, error),
        false => error.context(doing),
    }
}
