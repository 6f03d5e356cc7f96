// SPDX-License-Identifier: BSD-2-Clause
//! Two descriptors as one stream: one to read from, one to write to.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::ioctl_fionbio;

use crate::sys::deadline::Deadline;
use crate::sys::poll;

/// How long a write waits for room in its pipe. A [`Stream`](super::Stream) polls
/// one descriptor, and that is the one to read from.
const ROOM: Duration = Duration::from_millis(10);

/// A pair of pipes as one byte stream for a [`Stream`](crate::Stream), such as
/// those of a child process or two named pipes.
///
/// Its descriptor ([`AsFd`]) is the reader's: the one to poll for a response. The
/// writer's is made non-blocking by the first write. A write into a pipe that is full
/// waits for 10 ms at most before it returns [`WouldBlock`](io::ErrorKind::WouldBlock).
///
/// A transport to a child process keeps the child beside the stream, and waits for its
/// end after the pipes are closed:
///
/// ```
/// use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
/// use std::time::Duration;
///
/// use rusttcti::wire::{CommandBuilder, CommandCode};
/// use rusttcti::{Pipes, Result, Stream, Tcti};
///
/// struct Process(Stream<Pipes<ChildStdout, ChildStdin>>, Child);
///
/// impl Process {
///     fn start(command: &mut Command) -> Result<Self> {
///         let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
///         let mut child = piped.spawn()?;
///         let (stdout, stdin) = (child.stdout.take(), child.stdin.take());
///         let pipes = Pipes::new(stdout.expect("piped"), stdin.expect("piped"));
///         Ok(Self(Stream::new(pipes), child))
///     }
/// }
///
/// impl Tcti for Process {
/// #   fn transmit(&mut self, command: &[u8]) -> Result<()> {
/// #       self.0.transmit(command)
/// #   }
/// #   fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
/// #       self.0.receive(response, timeout)
/// #   }
/// #   fn below(&mut self) -> Option<&mut dyn Tcti> {
/// #       Some(&mut self.0)
/// #   }
///     // transmit, receive and below as for any stream, and:
///     fn finalize(&mut self) -> Result<()> {
///         self.0.finalize()?; // closes the pipes, at which the child ends
///         self.1.wait()?;
///         Ok(())
///     }
/// }
///
/// // A process that answers its first command with TPM_RC_SUCCESS.
/// let script = r"head -c 12 >/dev/null; printf '\200\001\0\0\0\012\0\0\0\0'";
/// let mut tpm = Process::start(Command::new("sh").args(["-c", script]))?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// assert_eq!(tpm.receive(&mut [0; 4096], None)?, 10);
/// tpm.finalize()?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Pipes<R, W> {
    reader: R,
    writer: W,
    /// Whether the writer's descriptor was made non-blocking.
    is_ready: bool,
}

impl<R: Read + AsFd, W: Write + AsFd> Pipes<R, W> {
    /// Joins a reader and a writer.
    pub fn new(reader: R, writer: W) -> Self {
        Self {
            reader,
            writer,
            is_ready: false,
        }
    }
}

impl<R: AsFd, W> AsFd for Pipes<R, W> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl<R: Read, W> Read for Pipes<R, W> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.reader.read(room)
    }
}

impl<R, W: Write + AsFd> Write for Pipes<R, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_ready {
            ioctl_fionbio(self.writer.as_fd(), true)?;
            self.is_ready = true;
        }
        match self.writer.write(bytes) {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                let soon = Deadline::after(Some(ROOM));
                match poll::one(self.writer.as_fd(), PollFlags::OUT, soon) {
                    Ok(true) => self.writer.write(bytes),
                    Ok(false) | Err(_) => Err(full),
                }
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
