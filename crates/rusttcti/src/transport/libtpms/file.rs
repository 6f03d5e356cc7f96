// SPDX-License-Identifier: BSD-2-Clause
//! A TPM's state file: it is found, read, and replaced as a whole.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::remedy;
use crate::sys::descriptors::above_stdio;
use crate::{Error, ErrorKind, Result};

/// The size of the largest state: libtpms's permanent state has less than 200 KB.
const LARGEST: u64 = 16 << 20;
/// The mode of the file: only its owner can read the keys in it.
const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// A state file, whether or not it exists. A symbolic link is followed to its target.
#[derive(Debug)]
pub(super) struct StateFile {
    /// The path as the user wrote it, for messages.
    path: PathBuf,
    /// The folder's path, for messages.
    parent: PathBuf,
    folder: OwnedFd,
    name: OsString,
    /// The user and the group of the file that was read, if it belongs to another user.
    owner: Option<(u32, u32)>,
}

/// The identity of a file, however its path is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    folder: u64,
    name: OsString,
}

impl StateFile {
    /// Opens the file's folder.
    ///
    /// # Errors
    /// The folder of the path does not exist, or cannot be opened.
    pub(super) fn find(path: &Path) -> Result<Self> {
        let target = follow(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                let parent = path.parent().unwrap_or(path);
                remedy::no_folder(path, parent, Errno::NOTDIR)
            }
            _ => cannot("find", path, error),
        })?;
        let Some(name) = target.file_name() else {
            let error = io::Error::from(Errno::ISDIR);
            return Err(cannot("open", path, error));
        };
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty())
            .and_then(above_stdio)
            .map_err(|errno| remedy::no_folder(path, parent, errno))?;
        Ok(Self {
            path: path.to_owned(),
            parent: parent.to_owned(),
            folder,
            name: name.to_owned(),
            owner: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the file's folder.
    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Returns another name in the same folder: `prefix`, this file's name, `suffix`.
    pub(super) fn beside(&self, prefix: &str, suffix: &str) -> OsString {
        let mut name = OsString::from(prefix);
        name.push(&self.name);
        name.push(suffix);
        name
    }

    pub(super) fn identity(&self) -> Result<Identity> {
        let stat = rustix::fs::fstat(&self.folder)
            .map_err(|error| cannot("look at the folder of", &self.path, error.into()))?;
        Ok(Identity {
            device: stat.st_dev,
            folder: stat.st_ino,
            name: self.name.clone(),
        })
    }

    /// Returns the file's metadata, without opening it.
    pub(super) fn stat(&self) -> rustix::io::Result<rustix::fs::Stat> {
        rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Returns the file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or is not a regular file.
    pub(super) fn read(&mut self) -> Result<Option<Vec<u8>>> {
        self.try_read()
            .map_err(|error| cannot("read", &self.path, error))
    }

    fn try_read(&mut self) -> io::Result<Option<Vec<u8>>> {
        // NONBLOCK, so that a FIFO is refused and not waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            fd => above_stdio(fd?)?,
        };
        let file = File::from(fd);
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(Errno::ISDIR.into());
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if metadata.len() > LARGEST {
            return Err(io::Error::other(format!(
                "it has {} bytes, and a TPM's state has at most {LARGEST}",
                metadata.len()
            )));
        }
        let is_ours = metadata.uid() == geteuid().as_raw();
        self.owner = (!is_ours).then(|| (metadata.uid(), metadata.gid()));
        let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Removes the unfinished file of a killed process. The caller must hold the lock.
    pub(super) fn clean(&self) {
        // Mostly there is nothing.
        let _ = rustix::fs::unlinkat(&self.folder, self.temporary(), AtFlags::empty());
    }

    fn temporary(&self) -> OsString {
        self.beside(".", ".rusttcti-new")
    }

    /// Replaces the file as a whole, or leaves the old one.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`] if a step failed. The file is whole then: it is the old
    /// one, or, if only the last step failed, the new one.
    pub(super) fn replace(&self, bytes: &[u8], sync: bool) -> Result<()> {
        let temporary = self.temporary();
        let written = self
            .write_temporary(&temporary, bytes, sync)
            .and_then(|()| {
                rustix::fs::renameat(&self.folder, &temporary, &self.folder, &self.name)?;
                if sync {
                    fsync(&self.folder)?;
                }
                Ok(())
            });
        written.map_err(|error| {
            self.clean();
            // Always IoError: the caller must neither try again nor assume that it gave
            // a wrong value.
            let message = format!("cannot write the state file \"{}\"", self.path.display());
            Error::with_source(ErrorKind::IoError, message, error)
        })
    }

    fn write_temporary(&self, name: &OsStr, bytes: &[u8], sync: bool) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.folder, name, flags, OWNER_ONLY);
        let fd = match open() {
            // The lock is held, so no process is writing it.
            Err(Errno::EXIST) => {
                self.clean();
                open()
            }
            fd => fd,
        };
        let mut file = File::from(above_stdio(fd?)?);
        if let Some((user, group)) = self.owner {
            // Root leaves a user's TPM to the user. Other users may not chown.
            let _ = fchown(&file, Some(user), Some(group));
        }
        file.write_all(bytes)?;
        if sync {
            fsync(&file)?;
        }
        Ok(())
    }
}

fn fsync(fd: impl std::os::fd::AsFd) -> io::Result<()> {
    loop {
        match rustix::fs::fsync(&fd) {
            Err(Errno::INTR) => {}
            // Some file systems cannot sync folders.
            Err(Errno::INVAL) => return Ok(()),
            done => return Ok(done?),
        }
    }
}

/// Follows all symbolic links at the end of a path, also to a file that does not
/// exist yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let target = std::fs::read_link(&path)?;
                path.pop();
                path.push(target);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(path),
        }
    }
    Err(Errno::LOOP.into())
}

/// Returns the error of a failure to `verb` a state file.
pub(super) fn cannot(verb: &str, path: &Path, error: io::Error) -> Error {
    Error::from(error).context(format!(
        "cannot {verb} the state file \"{}\"",
        path.display()
    ))
}
