// SPDX-License-Identifier: BSD-2-Clause
//! Errors of a state file that cannot be reached or locked, with the remedy.

#![forbid(unsafe_code)]

use std::path::Path;

use rustix::io::Errno;
use rustix::process::geteuid;

use super::file::{StateFile, cannot};
use crate::{Error, ErrorKind};

/// Returns the error for a state file whose folder cannot be opened.
pub(super) fn no_folder(path: &Path, folder: &Path, errno: Errno) -> Error {
    let (file, place) = (path.display(), folder.display());
    let reason = match errno {
        Errno::NOENT if begins_with_tilde(path) => {
            "does not exist (\"~\" is your home folder to a shell only, and only at the \
             beginning of a word: write $HOME or the whole path)"
                .to_owned()
        }
        Errno::NOENT => format!("does not exist (make it: mkdir -p \"{place}\")"),
        Errno::NOTDIR => "is not a folder, or a part of its path is not".to_owned(),
        _ => {
            let error = std::io::Error::from(errno);
            return cannot("open the folder of", path, error);
        }
    };
    let kind = Error::from(std::io::Error::from(errno)).kind();
    Error::new(
        kind,
        format!("the folder \"{place}\" of the state file \"{file}\" {reason}"),
    )
}

/// Returns whether a path begins with `~`, which only a shell replaces by the home
/// folder.
pub(super) fn begins_with_tilde(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"~")
}

/// Returns the error for a state file that cannot be locked.
pub(super) fn no_lock(file: &StateFile, errno: Errno) -> Error {
    let path = file.path().display();
    let folder = file.parent().display();
    let reason = match errno {
        Errno::ROFS => format!(
            "the folder \"{folder}\" is on a file system that is mounted read-only, and the lock \
             \"{path}.lock\" and each new state are written there (libtpms-copy:{path} starts a \
             TPM in memory from the file, and writes nothing)"
        ),
        Errno::ACCESS | Errno::PERM if is_another_s(file) => format!(
            "the lock \"{path}.lock\" belongs to another user, who uses the TPM or whose program \
             was killed (if no program uses the TPM, remove the lock)"
        ),
        Errno::ACCESS | Errno::PERM => format!(
            "this user may not write to the folder \"{folder}\", and the lock \"{path}.lock\" and \
             each new state are written there (allow it, or use a file in another folder)"
        ),
        _ => return cannot("lock", file.path(), errno.into()),
    };
    let kind = Error::from(std::io::Error::from(errno)).kind();
    Error::new(
        kind,
        format!("cannot lock the state file \"{path}\": {reason}"),
    )
}

/// Returns whether the lock's file exists and belongs to another user.
fn is_another_s(file: &StateFile) -> bool {
    let name = file.beside("", ".lock");
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let lock = rustix::fs::statat(file.folder(), name, flags);
    lock.is_ok_and(|lock| lock.st_uid != geteuid().as_raw())
}

/// The environment variable with the number of seconds to wait for another process.
const LOCK_WAIT: &str = "RUSTTCTI_LOCK_WAIT";
/// The default number of seconds, and the largest one.
const USUAL: u64 = 5;
const MOST: u64 = 86_400;

/// Returns how many seconds to wait for another process that has locked a state file.
///
/// # Errors
/// [`ErrorKind::BadValue`] if the variable is not such a number.
pub(super) fn lock_wait() -> crate::Result<u64> {
    let Some(value) = std::env::var_os(LOCK_WAIT).filter(|value| !value.is_empty()) else {
        return Ok(USUAL);
    };
    let seconds = value.to_str().and_then(|value| value.parse().ok());
    seconds.filter(|seconds| *seconds <= MOST).ok_or_else(|| {
        Error::new(
            ErrorKind::BadValue,
            format!(
                "{LOCK_WAIT}=\"{}\" is not allowed (it is a number of seconds from 0 to {MOST})",
                value.to_string_lossy()
            ),
        )
    })
}
