// SPDX-License-Identifier: BSD-2-Clause
//! Polls a transport's poll handle.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::Tcti;

/// Returns whether the poll handle becomes readable within `wait`.
pub fn polls(tpm: &mut dyn Tcti, wait: Duration) -> bool {
    let handles = tpm.poll_handles().expect("poll handles");
    assert_eq!(handles.len(), 1);
    // SAFETY: the transport keeps its descriptor open while it is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(handles[0].fd) };
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a time");
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}
