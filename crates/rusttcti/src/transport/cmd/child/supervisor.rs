// SPDX-License-Identifier: BSD-2-Clause
//! The thread that starts a command, passes its messages on, and ends it.

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

use super::{Ending, Supervision};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::above_stdio;
use crate::sys::{poll, spawn};

/// How long a process has after each request to end.
const GRACE: Duration = Duration::from_secs(1);
/// How long SIGKILL may take. A process in a system call that the kernel does not
/// interrupt is left behind then.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How often the process is checked if the kernel has no pidfd (before 5.3).
const TICK: Duration = Duration::from_millis(10);

/// The process's command and its ends of the pipes.
pub(super) struct ChildEnds {
    pub(super) command: String,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Runs the process until its end.
pub(super) fn run(ends: ChildEnds, stderr: OwnedFd, shared: &Supervision) {
    let ChildEnds {
        command,
        stdin,
        stdout,
        stderr: child_stderr,
    } = ends;
    let pid = match spawn::shell(&command, stdin, stdout, child_stderr) {
        Ok(pid) => Pid::from_raw(pid as i32),
        Err(error) => return shared.update(|report| report.failure = Some(error)),
    };
    let Some(pid) = pid else { return };
    crate::sys::log::debug!("\"{command}\" runs as process {}", pid.as_raw_nonzero());
    shared.update(|_| {});

    let mut messages = Messages::new(stderr);
    let status = watch(pid, &mut messages, shared);
    messages.last_words();
    // Ends processes that the shell left behind. The shell is not reaped yet, or
    // was just now, so the group's number is not another's.
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
    shared.update(|report| report.ended = Some(ended));
}

/// The next step towards a process that runs.
enum Next {
    /// No step until the owner asks for an end.
    Run,
    /// Send SIGTERM at this time.
    Terminate(Instant),
    /// Send SIGKILL at this time.
    Kill(Instant),
    /// Stop waiting for it at this time.
    GiveUp(Instant),
}

/// Watches the process until its end. Returns its exit status, if that can be known.
fn watch(pid: Pid, messages: &mut Messages, shared: &Supervision) -> Option<WaitIdStatus> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    let pidfd = pidfd.and_then(above_stdio).ok();
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
            Next::Run if asked => match shared.ending.load(Ordering::Acquire) {
                ending if ending == Ending::AtOnce as u8 => Next::Kill(now),
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

/// Waits until something happens. Returns whether the owner asks for an end.
fn wait(
    pidfd: Option<&OwnedFd>,
    messages: &Messages,
    shared: &Supervision,
    next: &Next,
    left: Option<Duration>,
) -> bool {
    let mut fds = Vec::with_capacity(3);
    fds.extend(messages.awaited());
    fds.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
    // It stays readable after an end was requested.
    let running = matches!(next, Next::Run);
    if running {
        fds.push(PollFd::new(&shared.stop, PollFlags::IN));
    }
    let left = match (pidfd, left) {
        (None, left) => Some(left.map_or(TICK, |left| left.min(TICK))),
        (Some(_), left) => left,
    };
    if poll::any(&mut fds, Deadline::after(left)).is_err() {
        // Out of memory. It cannot be an interruption, because all signals are blocked.
        std::thread::sleep(TICK);
        return false;
    }
    running && fds.last().is_some_and(|stop| !stop.revents().is_empty())
}

/// The process's standard error, which is copied to the program's. The last line is
/// kept.
struct Messages {
    from: Option<OwnedFd>,
    /// The bytes that were read and not yet passed on.
    waiting: Vec<u8>,
    /// The last line that ended, and the one that has not.
    last: Vec<u8>,
    current: Vec<u8>,
}

impl Messages {
    /// How many bytes of a line are kept.
    const LONGEST: usize = 500;
    /// How much a pipe takes without waiting once it can be written to.
    const ATOM: usize = 4096;

    fn new(from: OwnedFd) -> Self {
        Self {
            from: Some(from),
            waiting: Vec::new(),
            last: Vec::new(),
            current: Vec::new(),
        }
    }

    /// Returns the event to wait for: room in the program's standard error, or a
    /// message.
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

    /// Passes on, or reads, what it can without waiting. Returns whether it did.
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
            // A failure is ignored, and this thread has SIGPIPE blocked.
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

    /// Passes on what the process wrote before its end.
    fn last_words(&mut self) {
        // A process that still writes after this many rounds does not end.
        for _ in 0..64 {
            if !self.relay() {
                if self.waiting.is_empty() {
                    return;
                }
                // The program's standard error takes nothing; the last line is still
                // needed.
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
        _ => "ended; its exit status is unknown, because this program's own wait() took it"
            .to_owned(),
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
