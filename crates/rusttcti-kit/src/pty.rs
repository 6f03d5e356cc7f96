// SPDX-License-Identifier: BSD-2-Clause
//! A character device that is not the kernel's TPM driver: a pseudo terminal in raw
//! mode. A program that opened `path()` reads the bytes that a test writes to the other
//! side.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;

use rusttcti::header::Header;

/// A pseudo terminal in raw mode.
pub struct Pty {
    /// The test's side.
    pub master: File,
    /// The slave side, held open so that the master always has a peer.
    _slave: File,
    path: String,
}

impl Pty {
    /// Opens a pseudo terminal.
    pub fn new() -> Self {
        // SAFETY: plain calls on a descriptor that this function owns.
        let (master, path) = unsafe {
            let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(fd >= 0, "posix_openpt: {}", std::io::Error::last_os_error());
            let master = File::from_raw_fd(fd);
            assert_eq!((libc::grantpt(fd), libc::unlockpt(fd)), (0, 0));
            let mut name = [0; 64];
            assert_eq!(libc::ptsname_r(fd, name.as_mut_ptr(), name.len()), 0);
            let path = CStr::from_ptr(name.as_ptr())
                .to_str()
                .expect("ASCII")
                .to_owned();
            (master, path)
        };
        let slave = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(&path)
            .expect("the other side opens");
        // SAFETY: a termios of zeros is filled in by tcgetattr.
        unsafe {
            let mut termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(slave.as_raw_fd(), &mut termios), 0);
            libc::cfmakeraw(&mut termios);
            assert_eq!(
                libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &termios),
                0
            );
        }
        Self {
            master,
            _slave: slave,
            path,
        }
    }

    /// Returns the path of the program's side.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads the next whole command that was written to the device.
    pub fn command(&mut self) -> Vec<u8> {
        let mut command = vec![0; Header::SIZE];
        self.master.read_exact(&mut command).expect("a header");
        let size = Header::parse(&command).expect("ten bytes").size as usize;
        command.resize(size, 0);
        self.master
            .read_exact(&mut command[Header::SIZE..])
            .expect("the rest");
        command
    }

    /// Writes bytes for the program to read.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("it is taken");
    }
}
