// SPDX-License-Identifier: BSD-2-Clause
//! One process at a time on a state file: a lock on a file beside it, which
//! ends with the process that holds it, however that ends.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::file::{Place, cannot};
use crate::sys::descriptors::{OwnFd, above_stdio, duplicate};
use crate::{Error, ErrorKind, Result};

/// How long another process may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Short, so that one who opens and closes again and again leaves us a chance.
const INTERVAL: Duration = Duration::from_millis(1);

/// A lock that this process holds. Dropping it removes its file.
#[derive(Debug)]
pub(super) struct Lock {
    /// A forked child's copy would hold the lock.
    fd: OwnFd,
    folder: OwnedFd,
    name: OsString,
}

impl Lock {
    /// Waits for the lock of a state file.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`] where another process has it for too long, or
    /// where the lock's file cannot be made.
    pub(super) fn acquire(place: &Place) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let attempt = Self::attempt(place);
            match attempt.map_err(|error| cannot("lock", place.path(), error.into()))? {
                Attempt::Got(lock) => return Ok(lock),
                Attempt::Again => {}
                Attempt::Held(_) if Instant::now() < deadline => thread::sleep(INTERVAL),
                Attempt::Held(holder) => {
                    return Err(Error::new(
                        ErrorKind::IoError,
                        format!(
                            "the state file {} is in use by {holder} \
                             (waited {} s for it to finish)",
                            place.path().display(),
                            PATIENCE.as_secs()
                        ),
                    ));
                }
            }
        }
    }

    fn attempt(place: &Place) -> rustix::io::Result<Attempt> {
        let name = place.beside("", ".lock");
        // Not for writing: a file system that has such a file open could not
        // be made read-only while the TPM is in use.
        match Self::try_with(place, &name, OFlags::RDONLY) {
            // NFS locks for itself alone only what may be written.
            Err(Errno::BADF) => Self::try_with(place, &name, OFlags::RDWR),
            attempt => attempt,
        }
    }

    fn try_with(place: &Place, name: &OsStr, access: OFlags) -> rustix::io::Result<Attempt> {
        // Non-blocking, so that a named pipe of that name is not waited for.
        let flags = access | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = OwnFd::new(rustix::fs::openat(place.folder(), name, flags, mode)?)?;
        let locked = loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        let lock = Self {
            folder: duplicate(place.folder())?,
            fd,
            name: name.to_owned(),
        };
        match locked {
            Err(Errno::WOULDBLOCK) => {
                let holder = lock.holder();
                lock.forget();
                Ok(Attempt::Held(holder))
            }
            Err(error) => {
                lock.forget();
                Err(error)
            }
            // Whoever held it before may have removed it after we opened it.
            Ok(()) if !lock.is_in_place() => {
                lock.forget();
                Ok(Attempt::Again)
            }
            Ok(()) => {
                // Only a help for those who wait: a full disk is no reason to
                // refuse the lock.
                let _ = lock.sign();
                let _ = lock.share_with_user_of(place);
                Ok(Attempt::Got(lock))
            }
        }
    }

    /// Writes into the lock's file who has it.
    fn sign(&self) -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty())?;
        let pid = format!("{}\n", std::process::id());
        rustix::io::write(above_stdio(file)?, pid.as_bytes())?;
        Ok(())
    }

    /// Lets the user whose state root uses wait for root, and find no obstacle
    /// in what is left of a process of root's that was killed.
    fn share_with_user_of(&self, place: &Place) -> rustix::io::Result<()> {
        let state = place.stat()?;
        if state.st_uid != geteuid().as_raw() {
            let (user, group) = (Uid::from_raw(state.st_uid), Gid::from_raw(state.st_gid));
            rustix::fs::fchown(&self.fd, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Who wrote the lock's file.
    fn holder(&self) -> String {
        let mut text = [0; 16];
        let length = rustix::io::pread(&self.fd, &mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        match text.trim().parse::<u32>() {
            Ok(pid) => format!("process {pid}"),
            Err(_) => "another process".to_owned(),
        }
    }

    /// True where the file that is locked is still the one of that name.
    fn is_in_place(&self) -> bool {
        let named = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        match (rustix::fs::fstat(&self.fd), named) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        }
    }

    /// Closes a lock that was not got: the file is its holder's.
    fn forget(mut self) {
        self.name.clear();
    }
}

enum Attempt {
    Got(Lock),
    Held(String),
    /// The file is not the lock's any more.
    Again,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // Before it is unlocked, so that nobody's lock is removed. A file
            // that stays is no harm.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
            // A child forked at the wrong moment may have a copy of `fd`.
            let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
        }
    }
}
