// SPDX-License-Identifier: BSD-2-Clause
//! Forked children.

use super::support::{checks, exchange, receive, send};
use crate::conformance::{Subject, Verdict, ensure};
use crate::proc;

checks! {
    "a-child-takes-no-response": "A forked child does not take the response that its parent awaits." => takes_no_response,
    "a-child-that-ends-harms-nothing": "A forked child that finalizes or ends leaves the parent's context as it is." => harms_nothing,
    "a-child-opens-its-own": "A forked child can open a context of its own." => opens_its_own,
    "descriptors-are-closed-on-exec": "No descriptor of a context is inherited by a program that is executed." => closed_on_exec,
}

/// Runs `work` in a forked child, and returns its exit status.
fn in_child(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: this process has one thread; the child leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork");
    if pid == 0 {
        let status = i32::from(!work());
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    status
}

fn takes_no_response(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    in_child(|| {
        let (_, _) = opened.c.receive(200);
        true
    });
    receive(opened.c, 8)
}

fn harms_nothing(subject: &Subject) -> Verdict {
    let mut opened = subject.open()?;
    exchange(opened.c, 4)?;
    in_child(|| {
        opened.finalize();
        true
    });
    exchange(opened.c, 8)
}

fn opens_its_own(subject: &Subject) -> Verdict {
    drop(subject.open()?);
    let status = in_child(|| {
        let opened = subject.open();
        opened.is_ok_and(|opened| exchange(opened.c, 8).is_ok())
    });
    ensure!(status == 0, "the child ended with status {status}");
    exchange(subject.open()?.c, 4)
}

fn closed_on_exec(subject: &Subject) -> Verdict {
    let before = proc::fds();
    let opened = subject.open()?;
    send(opened.c, 4)?;
    for fd in proc::fds() {
        // SAFETY: F_GETFD of any number is harmless.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        let kept = flags != -1 && flags & libc::FD_CLOEXEC == 0;
        ensure!(
            !kept || before.contains(&fd),
            "descriptor {fd} is inherited"
        );
    }
    receive(opened.c, 4)
}
