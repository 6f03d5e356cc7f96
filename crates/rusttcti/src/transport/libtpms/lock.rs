// SPDX-License-Identifier: BSD-2-Clause
//! Lets one process at a time use a state file: a lock on a file beside it. The lock
//! ends with the process that holds it, also if that process is killed.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::file::StateFile;
use super::lock_holder;
use super::remedy::{lock_wait, no_lock};
use crate::sys::descriptors::{OwnFd, above_stdio, duplicate};
use crate::sys::long_wait::LongWait;
use crate::{Error, ErrorKind, Result};

/// Short, so that a process that opens and closes the TPM in a loop does not keep
/// others out.
const INTERVAL: Duration = Duration::from_millis(1);

/// A lock that this process holds. Dropping it removes its file.
#[derive(Debug)]
pub(super) struct Lock {
    /// Closed in forked children, because a copy of the descriptor would hold the lock.
    fd: OwnFd,
    folder: OwnedFd,
    name: OsString,
}

impl Lock {
    /// Waits for the lock of a state file.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`] if another process has it for too long, or if the lock
    /// file cannot be made.
    pub(super) fn acquire(file: &StateFile) -> Result<Self> {
        let seconds = lock_wait()?;
        let wait = Duration::from_secs(seconds);
        let mut waiting = LongWait::begin();
        loop {
            let attempt = Self::attempt(file);
            let holder = match attempt.map_err(|errno| no_lock(file, errno))? {
                Attempt::Got(lock) => return Ok(lock),
                Attempt::Again => continue,
                Attempt::Held(holder) => holder,
            };
            let path = file.path().display();
            if waiting.elapsed() >= wait {
                return Err(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "the state file \"{path}\" is in use by {holder} (waited {seconds} s for \
                         it to finish; RUSTTCTI_LOCK_WAIT=SECONDS changes that)"
                    ),
                ));
            }
            waiting.log_if_long(|| {
                format!("up to {seconds} s for the state file \"{path}\", in use by {holder}")
            });
            thread::sleep(INTERVAL);
        }
    }

    fn attempt(file: &StateFile) -> rustix::io::Result<Attempt> {
        let name = file.beside("", ".lock");
        // Not for writing: a file system with a file that is open for writing cannot be
        // remounted read-only while the TPM is in use.
        match Self::try_with(file, &name, OFlags::RDONLY) {
            // NFS requires write access for an exclusive lock.
            Err(Errno::BADF) => Self::try_with(file, &name, OFlags::RDWR),
            attempt => attempt,
        }
    }

    fn try_with(file: &StateFile, name: &OsStr, access: OFlags) -> rustix::io::Result<Attempt> {
        // Non-blocking, so that a named pipe of that name does not block.
        let flags = access | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = OwnFd::new(rustix::fs::openat(file.folder(), name, flags, mode)?)?;
        let locked = loop {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::INTR) => {}
                locked => break locked,
            }
        };
        let lock = Self {
            folder: duplicate(file.folder())?,
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
            // Its last holder may have removed the file after we opened it.
            Ok(()) if !lock.is_in_place() => {
                lock.forget();
                Ok(Attempt::Again)
            }
            Ok(()) => {
                // The text is only for messages: a full disk is no reason to refuse the
                // lock.
                let _ = lock.sign();
                let _ = lock.share_with_user_of(file);
                Ok(Attempt::Got(lock))
            }
        }
    }

    /// Writes the name of this process into the lock file.
    fn sign(&self) -> rustix::io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty())?;
        rustix::io::write(above_stdio(file)?, lock_holder::signature().as_bytes())?;
        Ok(())
    }

    /// Gives the lock file to the state file's user if root uses the state file: the
    /// user can then wait for root, and use a lock file that a killed process of root
    /// left.
    fn share_with_user_of(&self, file: &StateFile) -> rustix::io::Result<()> {
        let state = file.stat()?;
        if state.st_uid != geteuid().as_raw() {
            let (user, group) = (Uid::from_raw(state.st_uid), Gid::from_raw(state.st_gid));
            rustix::fs::fchown(&self.fd, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Returns the process that wrote the lock file.
    fn holder(&self) -> Holder {
        let mut text = [0; lock_holder::LONGEST];
        let length = rustix::io::pread(&self.fd, &mut text, 0).unwrap_or(0);
        Holder(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// Returns whether the locked file is still the one of that name.
    fn is_in_place(&self) -> bool {
        let named = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        match (rustix::fs::fstat(&self.fd), named) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        }
    }

    /// Closes the file of a lock that another process holds, and does not remove it.
    fn forget(mut self) {
        self.name.clear();
    }
}

/// The holder's text in the lock file. It is parsed only for a message.
struct Holder(String);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lock_holder::named(&self.0))
    }
}

enum Attempt {
    Got(Lock),
    Held(Holder),
    /// The file was removed or replaced: try again.
    Again,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // The file is removed while it is locked, so that no other process's lock
            // is removed. A file that stays does no harm.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
            // A child forked at the wrong moment may have a copy of `fd`.
            let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
        }
    }
}
