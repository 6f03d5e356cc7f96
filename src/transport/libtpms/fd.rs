// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors that are never 0 to 2: a program that closed its standard
//! output would otherwise print into a state file.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};

/// The same open file under a number above standard error's, not inherited by
/// programs.
pub(super) fn above_stderr(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3)
}
