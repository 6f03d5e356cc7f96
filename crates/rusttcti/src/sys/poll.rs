// SPDX-License-Identifier: BSD-2-Clause
//! Waits for descriptors until a deadline, also if signals interrupt the wait.
//!
//! An interrupted poll(2) is repeated with the remaining time.

#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys::deadline::Deadline;

/// Waits until one of `fds` has one of its events, an error or a hang-up. Returns false
/// at the deadline. With [`Deadline::Now`] it does not wait.
pub(crate) fn any(fds: &mut [PollFd<'_>], deadline: Deadline) -> rustix::io::Result<bool> {
    loop {
        let left = deadline.remaining();
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno),
        }
    }
}

/// Waits until `fd` has one of the events in `flags`, an error or a hang-up. Returns
/// false at the deadline; for [`Deadline::Now`] at once, without a system call, because
/// the caller has just tried to read or write.
pub(crate) fn one(
    fd: BorrowedFd<'_>,
    flags: PollFlags,
    deadline: Deadline,
) -> rustix::io::Result<bool> {
    match deadline {
        Deadline::Now => Ok(false),
        _ => any(&mut [PollFd::from_borrowed_fd(fd, flags)], deadline),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_finds_what_is_there_and_a_wait_ends_at_its_deadline() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let look = || any(&mut [PollFd::new(&reader, PollFlags::IN)], Deadline::Now);
        let soon = Deadline::after(Some(Duration::from_millis(5)));
        assert_eq!(look(), Ok(false));
        assert_eq!(one(reader.as_fd(), PollFlags::IN, soon), Ok(false));
        assert!(soon.is_over());
        rustix::io::write(&writer, b"x").expect("written");
        assert_eq!(look(), Ok(true));
        assert_eq!(
            one(reader.as_fd(), PollFlags::IN, Deadline::Never),
            Ok(true)
        );
    }
}
