// SPDX-License-Identifier: BSD-2-Clause
//! An open device file, and the wait for its response without calls to the driver.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use crate::sys::deadline::Deadline;
use crate::sys::descriptors::OwnFd;
use crate::sys::poll;
use crate::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Node {
    /// A forked child that kept /dev/tpm0 open would keep other programs out.
    fd: OwnFd,
    /// An epoll on `fd`; `None` if the kernel's driver has no poll.
    watch: Option<OwnFd>,
    /// Whether the driver has sent an event, and every read since then found data.
    ready: bool,
    /// Whether the last exchange failed: its remains must be discarded before the next
    /// one.
    unsettled: bool,
}

impl Node {
    /// Opens a device. The error names only the reason, not the path.
    pub(super) fn open(path: &str) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| why(path, errno))?;
        let fd = OwnFd::new(fd).map_err(std::io::Error::from)?;
        let stat = rustix::fs::fstat(&fd).map_err(std::io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            return Err(Error::new(
                ErrorKind::BadValue,
                "this is not a character device, and a TPM's device is one",
            ));
        }
        let watch = watch(&fd)?;
        Ok(Self {
            fd,
            watch,
            ready: false,
            unsettled: false,
        })
    }

    /// Returns whether the device is a terminal or a serial line.
    pub(super) fn is_terminal(&self) -> bool {
        self.fd.as_fd().is_terminal()
    }

    /// Fails in a forked child.
    pub(super) fn check(&self) -> Result<()> {
        self.fd.check()
    }

    /// Returns the descriptor that becomes readable when the response is there.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.watch.as_ref().unwrap_or(&self.fd).as_fd()
    }

    /// Marks the response as complete and its event as consumed.
    pub(super) fn answered(&mut self) {
        self.ready = false;
    }

    /// Marks the exchange as failed: `send` discards its remains before the next one.
    pub(super) fn unsettled(&mut self) {
        self.unsettled = true;
    }

    /// Writes a whole command. EAGAIN means that the deadline has passed.
    pub(super) fn send(&mut self, command: &[u8], deadline: Deadline) -> rustix::io::Result<()> {
        if std::mem::take(&mut self.unsettled) {
            self.wait(Deadline::Now)?;
            self.discard();
        }
        let mut left = command;
        while !left.is_empty() {
            match rustix::io::write(&self.fd, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::INTR) => {}
                // A response that was not read is still there, or will still come.
                Err(Errno::BUSY) => {
                    if !self.wait(deadline)? {
                        return Err(Errno::AGAIN);
                    }
                    self.discard();
                }
                Err(Errno::AGAIN) => {
                    self.unsettled = true;
                    // A terminal may report POLLOUT for ever and accept no bytes.
                    if deadline.is_over() {
                        return Err(Errno::AGAIN);
                    }
                    if !poll::one(self.fd.as_fd(), PollFlags::OUT, deadline)? {
                        return Err(Errno::AGAIN);
                    }
                }
                Err(errno) => {
                    self.unsettled = left.len() < command.len();
                    return Err(errno);
                }
            }
        }
        self.unsettled = false;
        // Without poll the write has waited for the TPM.
        self.ready = self.watch.is_none();
        Ok(())
    }

    /// Reads one byte or more. EAGAIN means that the deadline has passed, ENODATA that
    /// there is no response and none will come.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        deadline: Deadline,
    ) -> rustix::io::Result<usize> {
        loop {
            if !self.ready {
                self.ready = self.wait(deadline)?;
            }
            if !self.ready {
                return Err(Errno::AGAIN);
            }
            match rustix::io::read(&self.fd, &mut *room) {
                Ok(0) => return Err(Errno::NODATA),
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.ready = false,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Waits for a new event of the driver. Returns false at the deadline.
    fn wait(&self, deadline: Deadline) -> rustix::io::Result<bool> {
        let Some(watch) = &self.watch else {
            return poll::one(self.fd.as_fd(), PollFlags::IN, deadline);
        };
        loop {
            let left = deadline.remaining();
            match take_event(watch, left) {
                Ok(true) => return Ok(true),
                Ok(false) if left.is_some_and(|left| left <= LONGEST) => return Ok(false),
                Ok(false) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Reads and discards all that is there.
    fn discard(&mut self) {
        self.ready = false;
        // A device that has more than this sends without end.
        for _ in 0..64 {
            match rustix::io::read(&self.fd, &mut [0; 4096]) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Makes an epoll that reports each change of `fd` once; `None` if `fd` cannot be
/// polled.
fn watch(fd: &OwnFd) -> Result<Option<OwnFd>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
        .and_then(OwnFd::new)
        .map_err(std::io::Error::from)?;
    // The driver reports POLLOUT if there is nothing to read: it has discarded the
    // response, because it was not read in time.
    let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    match epoll::add(&epoll, fd, epoll::EventData::new_u64(0), events) {
        Ok(()) => {}
        Err(Errno::PERM) => return Ok(None),
        Err(errno) => return Err(std::io::Error::from(errno).into()),
    }
    // The first event is POLLOUT.
    while take_event(&epoll, Some(Duration::ZERO)) == Err(Errno::INTR) {}
    Ok(Some(epoll))
}

/// The longest wait of one call of epoll.
const LONGEST: Duration = Duration::from_secs(3600);

fn take_event(epoll: &OwnFd, timeout: Option<Duration>) -> rustix::io::Result<bool> {
    let timespec = timeout.and_then(|timeout| Timespec::try_from(timeout.min(LONGEST)).ok());
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }];
    Ok(epoll::wait(epoll, &mut events, timespec.as_ref())? > 0)
}

/// Returns why a device cannot be opened, and what to do about it.
fn why(path: &str, errno: Errno) -> Error {
    let stat = rustix::fs::stat(path).ok();
    match (errno, stat) {
        (_, Some(stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => Error::new(
            ErrorKind::BadValue,
            format!("this is a socket (an swtpm process behind it is swtpm:path={path})"),
        ),
        (Errno::NOENT, _) => Error::new(ErrorKind::IoError, "no such file"),
        (Errno::ACCESS | Errno::PERM, Some(stat)) => Error::new(
            ErrorKind::NotPermitted,
            format!("permission denied ({})", who_may(&stat)),
        ),
        (Errno::ACCESS | Errno::PERM, None) => {
            Error::new(ErrorKind::NotPermitted, "permission denied")
        }
        (Errno::BUSY, _) => Error::new(
            ErrorKind::IoError,
            "busy: another program has it open (several can share /dev/tpmrm0)",
        ),
        (Errno::ISDIR, _) => Error::new(ErrorKind::BadValue, "this is a directory"),
        (Errno::NXIO | Errno::NODEV, _) => Error::new(
            ErrorKind::IoError,
            "no TPM driver behind this file (is the TPM enabled in the firmware?)",
        ),
        _ => Error::new(ErrorKind::IoError, std::io::Error::from(errno)),
    }
}

fn who_may(stat: &Stat) -> String {
    let group = group_name(stat.st_gid);
    if stat.st_mode & 0o060 == 0o060 && stat.st_gid != 0 {
        format!("is this user in group {group}?")
    } else {
        format!(
            "owner {}, group {group}, mode {:04o}",
            stat.st_uid,
            stat.st_mode & 0o7777
        )
    }
}

/// Returns the name of a group on this machine, or its number if it has no name.
fn group_name(gid: u32) -> String {
    let number = gid.to_string();
    std::fs::read_to_string("/etc/group")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == number).then(|| name.to_owned())
        })
        .unwrap_or(number)
}
