// SPDX-License-Identifier: BSD-2-Clause
//! Returns whether the bytes that were sent over a socket have arrived.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Returns how many sent bytes the peer's kernel has not acknowledged (SIOCOUTQ
/// of linux/sockios.h, which is TIOCOUTQ).
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> rustix::io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: an open descriptor, and a place for the int that this request writes.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == -1 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}
