// SPDX-License-Identifier: BSD-2-Clause
//! The process of a command: its pipes, and the thread that starts and ends it.
//!
//! The kernel kills the process when the thread that started it ends
//! (PR_SET_PDEATHSIG). The program's own threads may end at any time, so a separate
//! thread starts the process. It lives as long as the process does.

#![forbid(unsafe_code)]

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod stand_in;
mod supervisor;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::deadline::Deadline;
use crate::sys::descriptors::{OwnFd, above_stdio, duplicate};
use crate::sys::eventfd::EventFd;
use crate::sys::fork::Generation;
use crate::sys::poll;
use crate::sys::threads::Thread;
use crate::{Error, ErrorKind, Result};

/// The thread's stack: it polls, reads, writes, and spawns once.
const STACK: usize = 128 * 1024;

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ending {
    /// Its input is closed; SIGTERM follows after a second, SIGKILL after another.
    Gently = 0,
    /// SIGKILL.
    AtOnce = 1,
}

/// A running command.
#[derive(Debug)]
pub(super) struct Child {
    /// The process that started it.
    generation: Generation,
    pipes: Option<Pipes>,
    shared: Arc<Supervision>,
    thread: Option<Thread>,
}

/// Our ends. A forked child must not keep them: the command would never see the
/// end of its input.
#[derive(Debug)]
struct Pipes {
    /// Never waits.
    stdin: OwnFd,
    /// The other end of `stdin`, so that a write to a command that has ended raises no
    /// SIGPIPE. The end of its output shows that it has ended.
    _no_sigpipe: OwnFd,
    /// Blocking: a response without a deadline takes one system call.
    stdout: OwnFd,
}

/// The state that the thread and the owner share.
#[derive(Debug)]
struct Supervision {
    report: Mutex<Report>,
    /// Readable when the report has changed.
    changed: EventFd,
    ending: AtomicU8,
    /// Readable when the process is to end.
    stop: EventFd,
}

#[derive(Debug, Default)]
struct Report {
    /// The reason why the process could not be started.
    failure: Option<std::io::Error>,
    /// How the process ended, as the rest of a sentence.
    ended: Option<String>,
}

impl Supervision {
    fn report<T>(&self, look: impl FnOnce(&mut Report) -> T) -> T {
        look(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn update(&self, change: impl FnOnce(&mut Report)) {
        self.report(change);
        self.changed.set();
    }

    fn wait(&self, deadline: Deadline) -> Result<()> {
        at_deadline(poll::one(self.changed.as_fd(), PollFlags::IN, deadline))
    }
}

/// Turns a wait that ended at its deadline into [`ErrorKind::TryAgain`].
fn at_deadline(waited: rustix::io::Result<bool>) -> Result<()> {
    match waited.map_err(failed)? {
        true => Ok(()),
        false => Err(ErrorKind::TryAgain.into()),
    }
}

fn event() -> Result<EventFd> {
    EventFd::new(false).map_err(failed)
}

/// Makes a pipe: the end to read from, and the one to write to.
fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let reader = above_stdio(reader).map_err(failed)?;
    let writer = above_stdio(writer).map_err(failed)?;
    Ok((reader, writer))
}

fn failed(errno: Errno) -> Error {
    Error::new(ErrorKind::IoError, std::io::Error::from(errno))
}

impl Child {
    pub(super) fn start(command: &str) -> Result<Self> {
        #[cfg(fuzzing)]
        if let Some(child) = stand_in::next() {
            return child;
        }
        let started = Self::try_start(command);
        started.map_err(|error| {
            // Too many processes (EAGAIN) is an IoError, too, and no TryAgain.
            let text = format!("cannot run \"{command}\" by /bin/sh: {}", error.report());
            Error::new(error.kind(), text)
        })
    }

    fn try_start(command: &str) -> Result<Self> {
        let (their_stdin, stdin) = pipe()?;
        let (stdout, their_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        rustix::io::ioctl_fionbio(&stdin, true).map_err(failed)?;
        rustix::io::ioctl_fionbio(&stderr, true).map_err(failed)?;
        let no_sigpipe = duplicate(&their_stdin).map_err(failed)?;
        let pipes = Pipes {
            stdin: OwnFd::new(stdin).map_err(failed)?,
            _no_sigpipe: OwnFd::new(no_sigpipe).map_err(failed)?,
            stdout: OwnFd::new(stdout).map_err(failed)?,
        };
        let shared = Arc::new(Supervision {
            report: Mutex::default(),
            changed: event()?,
            ending: AtomicU8::new(Ending::Gently as u8),
            stop: event()?,
        });
        let ends = supervisor::ChildEnds {
            command: command.to_owned(),
            stdin: their_stdin,
            stdout: their_stdout,
            stderr: child_stderr,
        };
        let supervision = Arc::clone(&shared);
        let thread = Thread::spawn(STACK, move || supervisor::run(ends, stderr, &supervision))
            .map_err(|error| Error::new(ErrorKind::IoError, error))?;
        let mut child = Self {
            generation: Generation::current(),
            pipes: Some(pipes),
            shared,
            thread: Some(thread),
        };
        child.shared.wait(Deadline::Never)?;
        if let Some(failure) = child.shared.report(|report| report.failure.take()) {
            child.end(Ending::AtOnce)?;
            let kind = match failure.kind() {
                std::io::ErrorKind::InvalidInput => ErrorKind::BadValue,
                std::io::ErrorKind::OutOfMemory => ErrorKind::Memory,
                _ => ErrorKind::IoError,
            };
            return Err(Error::new(kind, failure));
        }
        // Only its end is reported from now on.
        child.shared.changed.clear();
        Ok(child)
    }

    /// Fails in a forked child.
    pub(super) fn check(&self) -> Result<()> {
        self.generation.check()
    }

    fn pipes(&self) -> &Pipes {
        // Only `end` takes them, and an ended child is not used again.
        self.pipes.as_ref().expect("the child has not been ended")
    }

    pub(super) fn stdin(&self) -> BorrowedFd<'_> {
        self.pipes().stdin.as_fd()
    }

    pub(super) fn stdout(&self) -> BorrowedFd<'_> {
        self.pipes().stdout.as_fd()
    }

    /// Waits for room in its input. Returns false if it has ended.
    pub(super) fn wait_for_room(&self, deadline: Deadline) -> Result<bool> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.stdin(), PollFlags::OUT),
            PollFd::new(&self.shared.changed, PollFlags::IN),
        ];
        at_deadline(poll::any(&mut fds, deadline))?;
        Ok(fds[1].revents().is_empty())
    }

    /// Reads what it has written, and waits for that if need be; 0 bytes are the end.
    pub(super) fn read(&self, room: &mut [u8], deadline: Deadline) -> Result<usize> {
        loop {
            if !matches!(deadline, Deadline::Never) {
                let mut fds = [PollFd::from_borrowed_fd(self.stdout(), PollFlags::IN)];
                at_deadline(poll::any(&mut fds, deadline))?;
            }
            match rustix::io::read(self.stdout(), &mut *room) {
                Err(Errno::INTR) => {}
                read => return read.map_err(failed),
            }
        }
    }

    /// Returns how it ended; `None` if it runs for longer than this.
    pub(super) fn ended(&self, within: Duration) -> Option<String> {
        let deadline = Deadline::after(Some(within));
        // First without waiting: `try_start` may have taken both signals.
        self.shared
            .report(|report| report.ended.clone())
            .or_else(|| {
                self.shared.wait(deadline).ok()?;
                self.shared.report(|report| report.ended.clone())
            })
    }

    /// Ends it and waits for its end; nothing is left of it then.
    pub(super) fn end(&mut self, ending: Ending) -> Result<()> {
        self.shared.ending.store(ending as u8, Ordering::Release);
        self.pipes = None;
        self.shared.stop.set();
        // Waits for its end.
        self.thread = None;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.check().is_err() {
            // The thread and the process are the parent's.
            std::mem::forget(self.thread.take());
        } else if self.thread.is_some() {
            let _ = self.end(Ending::Gently);
        }
    }
}
