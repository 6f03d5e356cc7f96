// SPDX-License-Identifier: BSD-2-Clause
//! The calls of Linux's i2c-dev (linux/i2c-dev.h).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Takes an address for this descriptor; EBUSY if a kernel driver uses it.
const I2C_SLAVE: libc::Ioctl = 0x0703;
/// Transfers messages, without this check.
const I2C_RDWR: libc::Ioctl = 0x0707;
/// The flag of a message that is read.
const I2C_M_RD: u16 = 1;

/// A transfer: `struct i2c_msg`.
#[repr(C)]
struct Message {
    addr: u16,
    flags: u16,
    len: u16,
    buf: *mut u8,
}

/// Several transfers of one call: `struct i2c_rdwr_ioctl_data`.
#[repr(C)]
struct Messages {
    msgs: *mut Message,
    nmsgs: u32,
}

/// Fails with EBUSY if a kernel driver uses the chip at `address`.
pub(crate) fn take_address(fd: BorrowedFd<'_>, address: u8) -> rustix::io::Result<()> {
    // SAFETY: I2C_SLAVE takes a number, and touches no memory of this process.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), I2C_SLAVE, libc::c_ulong::from(address)) })
}

/// Writes `bytes` to the chip at `address`, from start to stop.
pub(crate) fn write(fd: BorrowedFd<'_>, address: u8, bytes: &mut [u8]) -> rustix::io::Result<()> {
    transfer(fd, address, 0, bytes)
}

/// Reads `bytes` from the chip at `address`, from start to stop.
pub(crate) fn read(fd: BorrowedFd<'_>, address: u8, bytes: &mut [u8]) -> rustix::io::Result<()> {
    transfer(fd, address, I2C_M_RD, bytes)
}

/// Transfers one message. Two in one call would have a repeated start between them,
/// which chips may refuse.
fn transfer(
    fd: BorrowedFd<'_>,
    address: u8,
    flags: u16,
    bytes: &mut [u8],
) -> rustix::io::Result<()> {
    let mut message = Message {
        addr: u16::from(address),
        flags,
        len: u16::try_from(bytes.len()).map_err(|_| Errno::TOOBIG)?,
        buf: bytes.as_mut_ptr(),
    };
    let mut messages = Messages {
        msgs: &mut message,
        nmsgs: 1,
    };
    // SAFETY: I2C_RDWR reads `messages` and the message that it points to, and
    // reads or writes `len` bytes at `buf`, which is `bytes`, borrowed mutably
    // until the call returns.
    result(unsafe { libc::ioctl(fd.as_raw_fd(), I2C_RDWR, &raw mut messages) })
}

fn result(returned: libc::c_int) -> rustix::io::Result<()> {
    match returned {
        0.. => Ok(()),
        _ => {
            let error = std::io::Error::last_os_error();
            Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
    }
}
