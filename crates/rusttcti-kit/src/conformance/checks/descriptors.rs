// SPDX-License-Identifier: BSD-2-Clause
//! Programs without standard streams, and with few descriptors.

use super::support::{checks, exchange, receive, send};
use crate::conformance::{Subject, Verdict, ensure};
use crate::proc;

checks! {
    "standard-streams-stay-free": "No descriptor takes the place of a closed standard stream." => streams_stay_free,
    "too-many-open-files": "Without a free descriptor a context fails to open or to send, and works again later." => too_many_open_files,
}

fn streams_stay_free(subject: &Subject) -> Verdict {
    for fd in 0..3 {
        // SAFETY: this process does not use its standard streams.
        unsafe { libc::close(fd) };
    }
    let opened = subject.open()?;
    send(opened.c, 4)?;
    let taken: Vec<i32> = proc::fds().into_iter().filter(|fd| *fd < 3).collect();
    receive(opened.c, 4)?;
    ensure!(taken.is_empty(), "taken: {taken:?}");
    Ok(())
}

fn too_many_open_files(subject: &Subject) -> Verdict {
    exchange(subject.open()?.c, 4)?;
    // SAFETY: a struct of two numbers.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the struct that the call fills in; then a lower soft limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let used = proc::fds().last().map_or(3, |last| last + 1);
    let full = libc::rlimit {
        rlim_cur: used.try_into().expect("a small number"),
        ..limit
    };
    // SAFETY: as above.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &full) };
    // It may fail for lack of a descriptor; it may not crash or hang.
    if let Ok(opened) = subject.open() {
        let _ = exchange(opened.c, 4);
    }
    // SAFETY: as above.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    exchange(subject.open()?.c, 8)
}
