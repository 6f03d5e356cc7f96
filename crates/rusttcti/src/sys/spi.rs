// SPDX-License-Identifier: BSD-2-Clause
//! The calls of Linux's spidev (linux/spi/spidev.h).

use std::os::fd::BorrowedFd;

use rustix::ioctl::{Setter, opcode};

/// The ioctl type of spidev's calls.
const GROUP: u8 = b'k';

/// A segment of a message: `struct spi_ioc_transfer`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    tx_buf: u64,
    rx_buf: u64,
    len: u32,
    speed_hz: u32,
    delay_usecs: u16,
    bits_per_word: u8,
    cs_change: u8,
    tx_nbits: u8,
    rx_nbits: u8,
    word_delay_usecs: u8,
    pad: u8,
}

const _: () = assert!(size_of::<Segment>() == 32, "as the kernel has it");

/// The state of chip select after a message of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChipSelect {
    /// It stays asserted (`cs_change` of the last segment).
    Keep,
    /// It is released.
    Release,
}

/// Sets the mode of the bus. The kernel releases chip select as it does.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u8) -> rustix::io::Result<()> {
    const WRITE_MODE: rustix::ioctl::Opcode = opcode::write::<u8>(GROUP, 1);
    // SAFETY: SPI_IOC_WR_MODE reads one byte, and changes nothing in this process.
    unsafe { rustix::ioctl::ioctl(fd, Setter::<WRITE_MODE, u8>::new(mode)) }
}

/// Writes `bytes`, and replaces them by the bytes that were read at the same time. A
/// speed of 0 is the device's own.
pub(crate) fn transfer(
    fd: BorrowedFd<'_>,
    bytes: &mut [u8],
    speed: u32,
    then: ChipSelect,
) -> rustix::io::Result<()> {
    const MESSAGE: rustix::ioctl::Opcode = opcode::write::<Segment>(GROUP, 0);
    let buffer = bytes.as_mut_ptr() as usize as u64;
    let segment = Segment {
        tx_buf: buffer,
        rx_buf: buffer,
        len: u32::try_from(bytes.len()).map_err(|_| rustix::io::Errno::TOOBIG)?,
        speed_hz: speed,
        bits_per_word: 8,
        cs_change: u8::from(then == ChipSelect::Keep),
        ..Segment::default()
    };
    // SAFETY: SPI_IOC_MESSAGE(1) reads one segment, and reads and writes `len`
    // bytes at its buffers, which are `bytes`, borrowed until the call returns.
    unsafe { rustix::ioctl::ioctl(fd, Setter::<MESSAGE, Segment>::new(segment)) }
}
