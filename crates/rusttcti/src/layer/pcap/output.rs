// SPDX-License-Identifier: BSD-2-Clause
//! The output of a recording: one write(2) for a packet, or the packet is left out.

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::sys::deadline::Deadline;
use crate::sys::descriptors::{above_stdio, duplicate};
use crate::sys::poll;
use crate::{Error, ErrorKind, Result};

/// An open file, pipe or stream.
#[derive(Debug)]
pub(super) struct Output {
    fd: OwnedFd,
    name: String,
    /// Whether this is one of the program's own streams. If it is a pipe without a
    /// reader, SIGPIPE would end the program.
    shared: bool,
    /// The rest of a packet that was written in part. It must be written before the
    /// next packet, or a reader cannot read on.
    rest: Vec<u8>,
    /// How many packets were left out since the last one that was written.
    left_out: u64,
}

impl Output {
    /// Opens a file to append to. A new file is readable by its user only.
    ///
    /// # Errors
    /// Those of opening it, with its name.
    pub(super) fn append(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // A named pipe is opened for reading and writing: the open waits for no reader,
        // and the pipe fills up, rather than breaks, when a reader goes away.
        let is_pipe = fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo());
        let file = OpenOptions::new()
            .append(true)
            .read(is_pipe)
            .create(true)
            .mode(0o600)
            .custom_flags((rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits() as i32)
            .open(&path);
        let name = path.display().to_string();
        match file {
            Ok(file) => Ok(Self::new(
                above_stdio(file.into()).map_err(io::Error::from)?,
                name,
                false,
            )),
            Err(error) => Err(cannot("open", &name, error)),
        }
    }

    /// Returns this program's standard output.
    ///
    /// # Errors
    /// If it is closed.
    pub(super) fn stdout() -> Result<Self> {
        Self::stream(io::stdout(), "standard output")
    }

    /// Returns this program's standard error.
    ///
    /// # Errors
    /// If it is closed.
    pub(super) fn stderr() -> Result<Self> {
        Self::stream(io::stderr(), "standard error")
    }

    fn stream(stream: impl AsFd, name: &str) -> Result<Self> {
        match duplicate(stream) {
            Ok(fd) => Ok(Self::new(fd, name.to_owned(), true)),
            Err(errno) => Err(cannot("use", name, errno.into())),
        }
    }

    fn new(fd: OwnedFd, name: String, shared: bool) -> Self {
        Self {
            fd,
            name,
            shared,
            rest: Vec::new(),
            left_out: 0,
        }
    }

    /// Writes the beginning of a recording.
    ///
    /// # Errors
    /// Those of writing, with the file's name.
    pub(super) fn start(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all_or_keep(bytes)
            .map_err(|error| cannot("write to", &self.name, error))?;
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(cannot(
            "write to",
            &self.name,
            io::ErrorKind::StorageFull.into(),
        ))
    }

    /// Writes a packet, or reports in the log that packets are left out.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let written = self
            .write_rest()
            .and_then(|()| self.write_all_or_keep(bytes));
        match written {
            Ok(()) => self.report_left_out(),
            Err(error) => {
                if self.left_out == 0 {
                    crate::sys::log::warning!(
                        "pcap: cannot write to {}: {error}; packets are left out until that works",
                        self.name
                    );
                }
                self.left_out += 1;
            }
        }
    }

    fn report_left_out(&mut self) {
        if self.left_out > 0 {
            crate::sys::log::warning!(
                "pcap: writing to {} works again; {} packets were left out",
                self.name,
                self.left_out
            );
            self.left_out = 0;
        }
    }

    /// Writes the rest of a packet that was cut off.
    fn write_rest(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            let written = self.write_once(&self.rest)?;
            self.rest.drain(..written);
        }
        Ok(())
    }

    /// Writes once, and keeps the bytes that were not taken for the next call.
    fn write_all_or_keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.write_once(bytes)?;
        self.rest.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.shared && self.has_no_reader()? {
            return Err(Errno::PIPE.into());
        }
        loop {
            match rustix::io::write(&self.fd, bytes) {
                Err(Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                result => return Ok(result?),
            }
        }
    }

    /// Returns whether the output is a pipe or a socket whose other end is closed.
    fn has_no_reader(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        poll::any(&mut fds, Deadline::Now)?;
        Ok(fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
    }
}

fn cannot(what: &str, name: &str, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => " (choose another with file= or TCTI_PCAP_FILE)",
        io::ErrorKind::NotFound => " (does its folder exist?)",
        io::ErrorKind::StorageFull => " (is the disk full?)",
        _ => "",
    };
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
        _ => ErrorKind::IoError,
    };
    let message = format!("the layer pcap cannot {what} {name}{remedy}");
    Error::with_source(kind, message, error)
}
