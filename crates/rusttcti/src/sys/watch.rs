// SPDX-License-Identifier: BSD-2-Clause
//! Adds descriptors to an epoll, and removes them, by their numbers: poll handles hold
//! only numbers.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

/// Makes `epoll` watch a descriptor.
///
/// # Errors
/// Those of epoll_ctl(2): EBADF for a number that is closed.
pub(crate) fn add(epoll: BorrowedFd<'_>, fd: RawFd, flags: EventFlags) -> rustix::io::Result<()> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative, and used only for epoll_ctl(2), which fails with EBADF for
    // a number that is closed.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let data = EventData::new_u64(0);
    match epoll::add(epoll, fd, data, flags) {
        Err(Errno::EXIST) => epoll::modify(epoll, fd, data, flags),
        done => done,
    }
}

/// Makes `epoll` stop watching a descriptor. The kernel has already removed one that
/// was closed.
pub(crate) fn remove(epoll: BorrowedFd<'_>, fd: RawFd) {
    if fd < 0 {
        return;
    }
    // SAFETY: as above.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let _ = epoll::delete(epoll, fd);
}
