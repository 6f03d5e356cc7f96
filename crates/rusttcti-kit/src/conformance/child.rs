// SPDX-License-Identifier: BSD-2-Clause
//! Runs a check in a separate process, by fork(2): the descriptors, locks and faults of
//! the check end with it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Check, NotPassed, Outcome, Subject};

/// The time limit of a check. Each check has shorter limits of its own.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a check in a child.
pub(super) fn run(check: &Check, subject: &Subject) -> Outcome {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    // SAFETY: the child runs the check and leaves by _exit. It has one thread. fork
    // handles glibc's own locks; a check uses no other lock that a thread of this
    // process may hold.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        drop(reader);
        in_child(check, subject, writer);
    }
    drop(writer);
    let said = read_until(reader, Instant::now() + LIMIT);
    let Some(said) = said else {
        // SAFETY: our own child, which was not waited for yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait(pid);
        return Outcome::Fail(format!("did not end within {} s", LIMIT.as_secs()));
    };
    let status = wait(pid);
    parse(&said, status)
}

/// Runs the check in the child.
fn in_child(check: &Check, subject: &Subject, writer: OwnedFd) -> ! {
    // The outcome already reports a panic. A module's output as it fails does not
    // belong in the table.
    std::panic::set_hook(Box::new(|_| {}));
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    let verdict = catch_unwind(AssertUnwindSafe(|| (check.run)(subject)));
    let said = match verdict {
        Ok(Ok(())) => "P".to_owned(),
        Ok(Err(NotPassed::Broken(text))) => format!("F{text}"),
        Ok(Err(NotPassed::NotApplicable(text))) => format!("N{text}"),
        Err(panic) => format!("F{}", message(&*panic)),
    };
    let written = File::from(writer).write_all(said.as_bytes());
    // SAFETY: ends the process at once: all that it inherited belongs to the parent.
    unsafe { libc::_exit(i32::from(written.is_err())) }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic".to_owned())
}

/// Reads to the end; returns `None` if the end does not come in time.
fn read_until(reader: OwnedFd, deadline: Instant) -> Option<String> {
    let mut file = File::from(reader);
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("less than a minute");
        let mut fds = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return None,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => panic!("poll: {errno}"),
        }
        let mut chunk = [0; 4096];
        match file.read(&mut chunk).expect("a pipe") {
            0 => return Some(String::from_utf8_lossy(&said).into_owned()),
            count => said.extend_from_slice(&chunk[..count]),
        }
    }
}

fn wait(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: our own child, waited for once.
    while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
    }
    status
}

fn parse(said: &str, status: libc::c_int) -> Outcome {
    if libc::WIFSIGNALED(status) {
        return Outcome::Fail(format!("ended by signal {}", libc::WTERMSIG(status)));
    }
    match said.split_at_checked(1) {
        Some(("P", _)) => Outcome::Pass,
        Some(("F", text)) => Outcome::Fail(text.to_owned()),
        Some(("N", text)) => Outcome::NotApplicable(text.to_owned()),
        _ => Outcome::Fail("ended the process without a word".to_owned()),
    }
}
