// SPDX-License-Identifier: BSD-2-Clause
//! The thread beside a command: from its start to its end.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    waitid,
};

use super::{Manner, Shared};
use crate::sys::deadline::Deadline;
use crate::sys::{poll, spawn};

/// How long a process has after each request to end.
const GRACE: Duration = Duration::from_secs(1);
/// How long SIGKILL may take: a process in a system call that the kernel does
/// not interrupt is left behind then.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How often is looked at a process where the kernel has no pidfd (before 5.3).
const TICK: Duration = Duration::from_millis(10);

/// What the process gets.
pub(super) struct Theirs {
    pub(super) command: String,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// The thread.
pub(super) fn run(theirs: Theirs, stderr: OwnedFd, shared: &Shared) {
    let Theirs {
        command,
        stdin,
        stdout,
        stderr: their_stderr,
    } = theirs;
    let pid = match spawn::shell(&command, stdin, stdout, their_stderr) {
        Ok(pid) => Pid::from_raw(pid as i32),
        Err(error) => return shared.tell(|news| news.failure = Some(error)),
    };
    let Some(pid) = pid else { return };
    crate::sys::log::debug!("\"{command}\" runs as process {}", pid.as_raw_nonzero());
    shared.tell(|_| {});

    let mut messages = Messages::new(stderr);
    let status = watch(pid, &mut messages, shared);
    messages.last_words();
    // Whom the shell left behind. It is not reaped yet, or was just now, so
    // that the group's number is still its own.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = match waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    ) {
        Ok(Some(reaped)) => Some(reaped),
        _ => status,
    };
    let mut ended = description(status.as_ref());
    let last = messages.last_line();
    if !last.is_empty() {
        ended.push_str(": ");
        ended.push_str(&last);
    }
    shared.tell(|news| news.ended = Some(ended));
}

/// What is to be done next about a process that goes on.
enum Next {
    /// Nothing, until its owner says so.
    Run,
    /// SIGTERM, then.
    Terminate(Instant),
    /// SIGKILL, then.
    Kill(Instant),
    /// Leave it, then.
    GiveUp(Instant),
}

/// Serves the process until its end; its status, if that can be known.
fn watch(pid: Pid, messages: &mut Messages, shared: &Shared) -> Option<WaitIdStatus> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
    let mut next = Next::Run;
    loop {
        let until = match next {
            Next::Run => None,
            Next::Terminate(at) | Next::Kill(at) | Next::GiveUp(at) => Some(at),
        };
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let asked = wait(pidfd.as_ref(), messages, shared, &next, left);
        messages.relay();

        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Ok(None) => {}
            Ok(status) => return status,
            // The program ignores SIGCHLD, or waits for every child itself.
            Err(_) => return None,
        }

        let now = Instant::now();
        next = match next {
            Next::Run if asked => match shared.manner.load(Ordering::Acquire) {
                manner if manner == Manner::AtOnce as u8 => Next::Kill(now),
                _ => Next::Terminate(now + GRACE),
            },
            Next::Terminate(at) if at <= now => {
                let _ = kill_process_group(pid, Signal::TERM);
                Next::Kill(now + GRACE)
            }
            Next::Kill(at) if at <= now => {
                let _ = kill_process_group(pid, Signal::KILL);
                Next::GiveUp(now + LAST_WAIT)
            }
            Next::GiveUp(at) if at <= now => {
                crate::sys::log::warning!("process {} cannot be killed", pid.as_raw_nonzero());
                return None;
            }
            goes_on => goes_on,
        };
    }
}

/// Waits until something happens; true where the owner wants an end.
fn wait(
    pidfd: Option<&OwnedFd>,
    messages: &Messages,
    shared: &Shared,
    next: &Next,
    left: Option<Duration>,
) -> bool {
    let mut fds = Vec::with_capacity(3);
    fds.extend(messages.awaited());
    fds.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    // Once it is asked for it stays readable, and is no news.
    let running = matches!(next, Next::Run);
    if running {
        fds.push(PollFd::new(&shared.stop, PollFlags::IN));
    }
    let left = match (pidfd, left) {
        (None, left) => Some(left.map_or(TICK, |left| left.min(TICK))),
        (Some(_), left) => left,
    };
    if poll::any(&mut fds, Deadline::after(left)).is_err() {
        // Nothing that could be waited for better; all signals are blocked.
        std::thread::sleep(TICK);
        return false;
    }
    running && fds.last().is_some_and(|stop| !stop.revents().is_empty())
}

/// What the process says on its standard error: passed on to ours, and the last
/// line of it kept.
struct Messages {
    from: Option<OwnedFd>,
    /// Read, and not yet passed on.
    waiting: Vec<u8>,
    /// The last line that ended, and the one that has not.
    last: Vec<u8>,
    current: Vec<u8>,
}

impl Messages {
    /// What of a line is kept.
    const LONGEST: usize = 500;
    /// A pipe that shows it can be written to takes as much without waiting.
    const ATOM: usize = 4096;

    fn new(from: OwnedFd) -> Self {
        Self {
            from: Some(from),
            waiting: Vec::new(),
            last: Vec::new(),
            current: Vec::new(),
        }
    }

    /// What there is to wait for: room in our standard error, or a message.
    fn awaited(&self) -> Option<PollFd<'_>> {
        if self.waiting.is_empty() {
            let from = self.from.as_ref()?;
            return Some(PollFd::new(from, PollFlags::IN));
        }
        Some(PollFd::from_borrowed_fd(
            rustix::stdio::stderr(),
            PollFlags::OUT,
        ))
    }

    /// Passes on, and reads, what can be without waiting. True if it did.
    fn relay(&mut self) -> bool {
        let Some(mut fd) = self.awaited() else {
            return false;
        };
        if poll::any(std::slice::from_mut(&mut fd), Deadline::Now) != Ok(true) {
            return false;
        }
        if self.waiting.is_empty() {
            self.read();
        } else {
            // Whether it can be written or not: this thread has SIGPIPE blocked.
            let _ = rustix::io::write(rustix::stdio::stderr(), &self.waiting);
            self.waiting.clear();
        }
        true
    }

    fn read(&mut self) {
        let Some(from) = &self.from else { return };
        let mut buffer = [0; Self::ATOM];
        match rustix::io::read(from.as_fd(), &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.from = None,
            Ok(count) => {
                self.waiting.extend_from_slice(&buffer[..count]);
                buffer[..count].iter().for_each(|byte| self.note(*byte));
            }
        }
    }

    fn note(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.current.len() < Self::LONGEST {
                self.current.push(byte);
            }
        } else if !self.current.trim_ascii().is_empty() {
            std::mem::swap(&mut self.last, &mut self.current);
            self.current.clear();
        }
    }

    /// Passes on what was said before the end.
    fn last_words(&mut self) {
        // Whoever still writes after this many rounds does not end.
        for _ in 0..64 {
            if !self.relay() {
                if self.waiting.is_empty() {
                    return;
                }
                // Our standard error takes nothing; the last line is wanted still.
                self.waiting.clear();
            }
        }
    }

    fn last_line(&self) -> String {
        let line = match self.current.trim_ascii() {
            [] => self.last.trim_ascii(),
            current => current,
        };
        String::from_utf8_lossy(line).into_owned()
    }
}

fn description(status: Option<&WaitIdStatus>) -> String {
    let status = status.map(|status| (status.exit_status(), status.terminating_signal()));
    match status {
        Some((Some(code), _)) => format!("ended with exit status {code}"),
        Some((_, Some(signal))) => format!("was ended by signal {signal}{}", name(signal)),
        _ => "ended, with an exit status that went to this program's own wait".to_owned(),
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}
