// SPDX-License-Identifier: BSD-2-Clause
//! The device file of a bus, and the lock that keeps other programs from the chip.
//!
//! Neither spidev nor i2c-dev refuses a second program, and two programs would
//! interleave their accesses. So the file is locked by flock(2): while a context is
//! open, or for each command if the programs share the chip (`share=1`).

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::descriptors::OwnFd;
use crate::{Error, ErrorKind, Result};

/// How long to wait before the lock is tried again.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a context leaves the lock to others before it takes it again: those
/// that wait try it now and then, and would never meet it free otherwise.
const COURTESY: Duration = Duration::from_millis(1);

/// An open device file.
#[derive(Clone, Debug)]
pub(in super::super) struct Node(Arc<OwnFd>);

impl Node {
    /// Opens the device file of a bus; `kind` is its expected driver, for messages.
    pub(in super::super) fn open(path: &str, kind: &str) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| why(path, kind, errno))?;
        let fd = OwnFd::new(fd).map_err(std::io::Error::from)?;
        let stat = rustix::fs::fstat(&fd).map_err(std::io::Error::from)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Ok(Self(Arc::new(fd))),
            _ => Err(is_no(path, kind)),
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (*self.0).as_fd()
    }
}

/// The error for a file that is something else.
pub(in super::super) fn is_no(path: &str, kind: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("\"{path}\" is not a device file of {kind}"),
    )
}

fn why(path: &str, kind: &str, errno: Errno) -> Error {
    let cause = std::io::Error::from(errno);
    let remedy = match errno {
        Errno::NOENT => format!(": is the kernel's {kind} driver loaded, and is this its bus?"),
        Errno::ACCESS | Errno::PERM => ": may this user use it?".to_owned(),
        _ => String::new(),
    };
    let error_kind = match errno {
        Errno::ACCESS | Errno::PERM => ErrorKind::NotPermitted,
        _ => ErrorKind::IoError,
    };
    Error::with_source(error_kind, format!("cannot open \"{path}\"{remedy}"), cause)
}

/// The time in which the chip is one context's.
#[derive(Debug)]
pub(in super::super) struct Turn {
    /// `None` if there is nothing to lock.
    node: Option<Node>,
    path: String,
    shared: bool,
    taken: bool,
    left: Option<Instant>,
}

impl Turn {
    pub(in super::super) fn new(node: Option<Node>, path: &str, shared: bool) -> Self {
        Self {
            node,
            path: path.to_owned(),
            shared,
            taken: false,
            left: None,
        }
    }

    /// Whether the chip is left to others between commands.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Locks the file. If the chip is shared, it waits for the commands of other
    /// programs.
    pub(in super::super) fn take(&mut self) -> Result<()> {
        let Some(node) = self.node.as_ref().filter(|_| !self.taken) else {
            return Ok(());
        };
        let since = self.left.take().map(|left| left.elapsed());
        if let Some(early) = since.and_then(|since| COURTESY.checked_sub(since)) {
            std::thread::sleep(early);
        }
        let patience = if self.shared {
            PATIENCE
        } else {
            Duration::ZERO
        };
        let deadline = Deadline::after(Some(patience));
        loop {
            match rustix::fs::flock(node, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    self.taken = true;
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if !deadline.is_over() => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(self.busy()),
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }

    fn busy(&self) -> Error {
        let remedy = match self.shared {
            true => format!("for over {PATIENCE:?}"),
            false => "(all programs that use it can share it with share=1)".to_owned(),
        };
        let path = &self.path;
        Error::new(
            ErrorKind::IoError,
            format!("another program, or another context, has locked \"{path}\" {remedy}"),
        )
    }

    /// Unlocks the file, if the chip is shared.
    pub(super) fn leave(&mut self) {
        if let (Some(node), true, true) = (&self.node, self.shared, self.taken) {
            let _ = retry_on_intr(|| rustix::fs::flock(node, FlockOperation::Unlock));
            self.taken = false;
            self.left = Some(Instant::now());
        }
    }
}
