// SPDX-License-Identifier: BSD-2-Clause
//! The files in which processes with `share=1` list what they have loaded in the TPM.
//! Each process has a small file, which is locked as long as the process lives.
//!
//! A process that is killed in the middle of a command leaves up to three objects and
//! sessions loaded, and its saved sessions stay active; a TPM has 64 of them. Other
//! processes find its file without a lock, and flush what the file lists. Without such
//! files (no /dev/shm, or processes of different users) everything else works, but
//! these objects and sessions stay loaded.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::descriptors::OwnFd;

/// The folder of the files. It is in memory, so they are lost with the machine's
/// power, as the TPM's objects are.
const FOLDER: &str = "/dev/shm";
/// The most handles of each kind in a file.
const MOST: usize = 15;
/// The most saved sessions in a file: as many as a TPM has.
const MOST_SAVED: usize = 64;
const SIZE: usize = 16 + 8 * MOST + 4 * MOST_SAVED;

/// The handles that a process has loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The TPM's handles of objects and sessions.
    pub(super) handles: Vec<u32>,
    /// Handles that were loaded before, by programs without this layer.
    pub(super) foreign: Vec<u32>,
    /// Whether a command is under way that makes another one.
    pub(super) is_loading: bool,
    /// The sessions that the process saved, and needs to be there.
    pub(super) saved: Vec<u32>,
    /// The TPM's count of resets, after another of which the saved sessions are gone;
    /// 0 if it is not known.
    pub(super) resets: u32,
}

impl Record {
    /// Returns whether the process has nothing in the TPM.
    fn has_nothing(&self) -> bool {
        self.handles.is_empty() && self.saved.is_empty() && !self.is_loading
    }
}

/// The handles that other processes have loaded.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Those of processes that ended.
    pub(super) dead: Record,
    /// The sessions that these had saved, each with the count of resets.
    pub(super) dead_saved: Vec<(u32, u32)>,
    /// Those of processes that run.
    pub(super) live: Record,
}

/// This process's file, made when there is something to write.
#[derive(Debug)]
pub(super) struct Presence {
    prefix: String,
    path: PathBuf,
    /// `None` if it was not made yet, or cannot be made.
    fd: Option<OwnFd>,
    cannot: bool,
    /// Whether the file is removed as soon as nothing is loaded.
    is_brief: bool,
    published: Record,
}

impl Presence {
    /// Prepares this process's file for the TPM of this name. With `is_brief` the
    /// file exists only while something is loaded: for processes that may end by
    /// _exit(2), as forked children do.
    pub(super) fn new(identity: &str, is_brief: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("{}{:016x}-", prefix_of_user(), fnv(identity.as_bytes()));
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(format!("{FOLDER}/{prefix}{process}.{count}"));
        Self {
            prefix,
            path,
            fd: None,
            cannot: false,
            is_brief,
            published: Record::default(),
        }
    }

    /// Returns the file, and makes it if there is none.
    fn file(&mut self) -> Option<BorrowedFd<'_>> {
        if self.fd.is_none() && !self.cannot {
            match self.create() {
                Ok(fd) => self.fd = Some(fd),
                Err(error) => {
                    self.cannot = true;
                    crate::sys::log::debug!("rm: {}: {error}", self.path.display());
                }
            }
        }
        self.fd.as_ref().map(AsFd::as_fd)
    }

    fn create(&self) -> std::io::Result<OwnFd> {
        // It may be there from a killed process that had this number.
        let _ = std::fs::remove_file(&self.path);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR)?;
        let fd = OwnFd::new(fd).map_err(std::io::Error::other)?;
        rustix::fs::flock(fd.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
        Ok(fd)
    }

    /// Writes what this process has loaded, if that changed.
    pub(super) fn publish(
        &mut self,
        handles: impl Iterator<Item = u32> + Clone,
        foreign: impl Iterator<Item = u32> + Clone,
        is_loading: bool,
        saved: impl Iterator<Item = u32> + Clone,
        resets: u32,
    ) {
        let published = &mut self.published;
        if published.is_loading == is_loading
            && published.resets == resets
            && handles
                .clone()
                .take(MOST)
                .eq(published.handles.iter().copied())
            && foreign
                .clone()
                .take(MOST)
                .eq(published.foreign.iter().copied())
            && saved
                .clone()
                .take(MOST_SAVED)
                .eq(published.saved.iter().copied())
        {
            return;
        }
        published.handles.clear();
        published.handles.extend(handles.take(MOST));
        published.foreign.clear();
        published.foreign.extend(foreign.take(MOST));
        published.is_loading = is_loading;
        published.saved.clear();
        published.saved.extend(saved.take(MOST_SAVED));
        published.resets = resets;
        let is_empty = published.has_nothing();
        if self.is_brief && is_empty {
            self.remove();
            return;
        }
        let published = std::mem::take(&mut self.published);
        if let Some(Err(errno)) = self.file().map(|fd| write(fd, &published)) {
            crate::sys::log::debug!("rm: {}: {errno}", self.path.display());
        }
        self.published = published;
    }

    /// Returns what other processes have loaded. It removes the files of processes
    /// that ended; the caller must flush what they list.
    pub(super) fn others(&self) -> Others {
        let mut others = Others::default();
        let Ok(entries) = std::fs::read_dir(FOLDER) else {
            return others;
        };
        let of_user = prefix_of_user();
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str().filter(|name| name.starts_with(&of_user)) else {
                continue;
            };
            let is_of_tpm = name.starts_with(&self.prefix);
            if path == self.path {
                continue;
            }
            if let Ok((record, is_live)) = look(&path, is_of_tpm) {
                if !is_of_tpm {
                    continue;
                }
                let to = if is_live {
                    &mut others.live
                } else {
                    &mut others.dead
                };
                to.handles.extend(record.handles);
                to.foreign.extend(record.foreign);
                to.is_loading |= record.is_loading;
                match is_live {
                    true => to.saved.extend(record.saved),
                    false => {
                        let saved = record.saved.iter();
                        let saved = saved.map(|session| (*session, record.resets));
                        others.dead_saved.extend(saved);
                    }
                }
            }
        }
        others
    }
}

impl Presence {
    /// Removes the file, if it is this process's.
    fn remove(&mut self) {
        if self.fd.take().is_some_and(|fd| fd.check().is_ok()) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the start of the names of all files of this user.
fn prefix_of_user() -> String {
    format!("rusttcti-rm-{}-", rustix::process::geteuid().as_raw())
}

/// Reads another process's file, and returns whether that process runs. If it does
/// not, the file is removed, provided that `takes` is true or it lists no handles.
fn look(path: &PathBuf, takes: bool) -> rustix::io::Result<(Record, bool)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Errno::PERM);
    }
    let is_live = match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => false,
        Err(Errno::WOULDBLOCK) => true,
        Err(errno) => return Err(errno),
    };
    // Another process may have removed it meanwhile, and flushes what it lists.
    if !is_live && rustix::fs::fstat(&fd)?.st_nlink == 0 {
        return Err(Errno::NOENT);
    }
    let mut bytes = [0; SIZE];
    let length = rustix::io::pread(&fd, &mut bytes, 0)?;
    if length == 0 && !is_live {
        // It was made a moment ago, and is not locked yet.
        return Err(Errno::AGAIN);
    }
    let record = read(&bytes[..length]);
    if !is_live && (takes || record.has_nothing()) {
        rustix::fs::unlink(path)?;
    }
    Ok((record, is_live))
}

/// Writes two counts, the first with a flag, and their handles; then the count of resets,
/// and the saved sessions with their count.
fn write(fd: BorrowedFd<'_>, record: &Record) -> rustix::io::Result<()> {
    let mut bytes = [0; SIZE];
    let (handles, foreign) = (&record.handles, &record.foreign);
    let counts = [
        handles.len() as u32 | u32::from(record.is_loading) << 31,
        foreign.len() as u32,
    ];
    let saved = [record.resets, record.saved.len() as u32];
    let words = counts.iter().chain(handles).chain(foreign);
    let words = words.chain(&saved).chain(&record.saved);
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    rustix::io::pwrite(fd, &bytes, 0).map(drop)
}

fn read(bytes: &[u8]) -> Record {
    let words = bytes.chunks_exact(4);
    let mut words = words.filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    let mut count = || words.next().unwrap_or(0);
    let (handles, foreign) = (count(), count());
    let (is_loading, handles) = (handles >> 31 != 0, handles & 0xffff);
    let handles = words.by_ref().take(handles as usize).collect();
    let foreign = words.by_ref().take(foreign as usize).collect();
    let (resets, saved) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    Record {
        handles,
        foreign,
        is_loading,
        saved: words.take(saved as usize).collect(),
        resets,
    }
}

/// Returns the FNV-1a hash.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_file_and_the_living_are_told_from_the_dead() {
        let name = format!("a test of {}", std::process::id());
        let mut first = Presence::new(&name, false);
        let second = Presence::new(&name, false);
        first.publish(
            [0x8000_0000, 0x0200_0001].into_iter(),
            [7].into_iter(),
            true,
            [0x0200_0002].into_iter(),
            5,
        );
        let others = second.others();
        assert_eq!(others.live.handles, [0x8000_0000, 0x0200_0001]);
        assert_eq!(others.live.foreign, [7]);
        assert_eq!(others.live.saved, [0x0200_0002]);
        assert!(others.live.is_loading && others.dead == Record::default());
        // A killed process leaves its file there, and not locked.
        let path = first.path.clone();
        let copy = std::fs::read(&path).expect("bytes");
        drop(first);
        assert!(!path.exists());
        std::fs::write(&path, copy).expect("a file");
        let others = second.others();
        assert_eq!(others.dead.handles, [0x8000_0000, 0x0200_0001]);
        assert_eq!(others.dead_saved, [(0x0200_0002, 5)]);
        assert!(!path.exists(), "taken once");
        assert_eq!(second.others().dead, Record::default());
    }
}
