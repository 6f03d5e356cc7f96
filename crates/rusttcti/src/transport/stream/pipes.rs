// SPDX-License-Identifier: BSD-2-Clause
//! Two descriptors as one stream: one to read from, one to write to.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::ioctl_fionbio;

use crate::sys::deadline::{self, Deadline};

/// How long a write waits for room in its pipe. Who writes to a [`Stream`](super::Stream)
/// polls one descriptor, and that is the one to read from.
const ROOM: Duration = Duration::from_millis(10);

/// A pair of pipes as one byte stream for a [`Stream`](crate::Stream), such as
/// those of a child process or two named pipes.
///
/// Its descriptor ([`AsFd`]) is the reader's: the one to poll for a response. The
/// writer's is made non-blocking by the first write. A write into a pipe that is
/// full waits for 10 ms at most before it says
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use rusttcti::{Pipes, Stream, Tcti};
///
/// let mut child = Command::new("cat")
///     .stdin(Stdio::piped())
///     .stdout(Stdio::piped())
///     .spawn()?;
/// let (stdout, stdin) = (child.stdout.take(), child.stdin.take());
/// let pipes = Pipes::new(stdout.expect("piped"), stdin.expect("piped"));
/// let mut tpm = Stream::new(pipes);
/// tpm.transmit(&[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0])?;
/// assert_eq!(tpm.receive(&mut [0; 4096], None)?, 10);
/// tpm.finalize()?; // closes the pipes, at which the child ends
/// assert!(child.wait()?.success());
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
    /// Joins what is read from and what is written to.
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
                match deadline::wait(self.writer.as_fd(), PollFlags::OUT, soon) {
                    Ok(()) => self.writer.write(bytes),
                    Err(_) => Err(full),
                }
            }
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
