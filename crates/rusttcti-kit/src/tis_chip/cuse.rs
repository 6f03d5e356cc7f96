// SPDX-License-Identifier: BSD-2-Clause
//! A character device in user space: the part of CUSE's protocol (linux/fuse.h) for a
//! device with ioctls only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const CUSE_INIT: u32 = 4096;
const FUSE_OPEN: u32 = 14;
const FUSE_RELEASE: u32 = 18;
const FUSE_INTERRUPT: u32 = 36;
const FUSE_IOCTL: u32 = 39;
/// Flag of CUSE_INIT: ioctls may read and write any memory of their caller.
const UNRESTRICTED_IOCTL: u32 = 1;
/// Flag of an answer to FUSE_IOCTL: call again, with these memory areas.
const IOCTL_RETRY: u32 = 4;
const HEADER: usize = 40;
const BUFFER: usize = 256 * 1024;

/// A memory area of the ioctl's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryArea {
    pub(super) address: u64,
    pub(super) length: usize,
}

/// A device's answer to an ioctl.
pub(super) enum Answer {
    /// A request for the bytes of the areas `read`, and for space in the areas `write`.
    Again {
        read: Vec<MemoryArea>,
        write: Vec<MemoryArea>,
    },
    /// The result, with the bytes to write.
    Done(i32, Vec<u8>),
}

/// A device with ioctls.
pub(super) trait Device {
    /// Answers an ioctl. `data` holds the bytes that the answer before asked for: all
    /// areas in order, and none at first.
    fn ioctl(&mut self, number: u32, argument: u64, data: &[u8]) -> Answer;
}

/// An open /dev/cuse with a device.
pub(super) struct Cuse {
    file: File,
    buffer: Vec<u8>,
}

/// A request of the kernel: its opcode, its number, and its length.
struct Request {
    opcode: u32,
    unique: u64,
    length: usize,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Cuse {
    /// Makes the device /dev/`name`.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/cuse")?;
        let mut cuse = Self {
            file,
            buffer: vec![0; BUFFER],
        };
        let request = cuse.request()?;
        if request.opcode != CUSE_INIT {
            return Err(io::Error::other("CUSE does not begin with CUSE_INIT"));
        }
        // The kernel's version, flags, sizes, and a device number that the kernel
        // chooses.
        let (major, minor) = (
            u32_at(&cuse.buffer, HEADER),
            u32_at(&cuse.buffer, HEADER + 4),
        );
        let mut answer = Vec::new();
        for word in [major, minor, 0, UNRESTRICTED_IOCTL, 65536, 65536, 0, 0] {
            answer.extend(word.to_ne_bytes());
        }
        answer.extend([0; 40]);
        answer.extend(format!("DEVNAME={name}\0").into_bytes());
        cuse.answer(&request, 0, &answer)?;
        Ok(cuse)
    }

    fn request(&mut self) -> io::Result<Request> {
        let length = self.file.read(&mut self.buffer)?;
        if length < HEADER {
            return Err(io::Error::other("CUSE sent less than a header"));
        }
        Ok(Request {
            opcode: u32_at(&self.buffer, 4),
            unique: u64_at(&self.buffer, 8),
            length,
        })
    }

    fn answer(&mut self, request: &Request, errno: i32, body: &[u8]) -> io::Result<()> {
        let mut answer = Vec::with_capacity(16 + body.len());
        answer.extend((16 + body.len() as u32).to_ne_bytes());
        answer.extend((-errno).to_ne_bytes());
        answer.extend(request.unique.to_ne_bytes());
        answer.extend(body);
        match self.file.write(&answer) {
            Ok(_) => Ok(()),
            // The caller was interrupted, and waits for no answer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Serves until `stop`.
    pub(super) fn serve(&mut self, mut device: impl Device, stop: &AtomicBool) -> io::Result<()> {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        while !stop.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&moment)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            let request = self.request()?;
            match request.opcode {
                FUSE_OPEN => self.answer(&request, 0, &[0; 16])?,
                FUSE_RELEASE => self.answer(&request, 0, &[])?,
                FUSE_INTERRUPT => {}
                FUSE_IOCTL => self.ioctl(&request, &mut device)?,
                _ => self.answer(&request, libc::ENOSYS, &[])?,
            }
        }
        Ok(())
    }

    fn ioctl(&mut self, request: &Request, device: &mut impl Device) -> io::Result<()> {
        let number = u32_at(&self.buffer, HEADER + 12);
        let argument = u64_at(&self.buffer, HEADER + 16);
        let sent = u32_at(&self.buffer, HEADER + 24) as usize;
        let data = &self.buffer[HEADER + 32..request.length];
        let data = &data[..sent.min(data.len())];
        let mut body = Vec::new();
        match device.ioctl(number, argument, data) {
            Answer::Done(result, written) => {
                for word in [result, 0, 0, 0] {
                    body.extend(word.to_ne_bytes());
                }
                body.extend(written);
            }
            Answer::Again { read, write } => {
                for word in [0, IOCTL_RETRY, read.len() as u32, write.len() as u32] {
                    body.extend(word.to_ne_bytes());
                }
                for place in read.iter().chain(&write) {
                    body.extend(place.address.to_ne_bytes());
                    body.extend((place.length as u64).to_ne_bytes());
                }
            }
        }
        self.answer(request, 0, &body)
    }
}
