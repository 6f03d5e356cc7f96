// SPDX-License-Identifier: BSD-2-Clause
//! A copy of libtpms of its own for each TPM: a memfd with the library's bytes,
//! loaded through its name in /proc.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

use super::ffi::{self, Library};
use crate::{Error, ErrorKind, Result};

/// True once the plain library's one TPM is somebody's, until that is closed.
static PLAIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// A copy of libtpms: one TPM.
pub(super) struct Copy {
    pub(super) library: Library,
    /// Set where it is the plain library and no copy.
    plain: bool,
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.library.power_off();
        if self.plain {
            PLAIN_TAKEN.store(false, Ordering::Release);
        }
    }
}

impl Copy {
    /// A TPM of its own. Where the library cannot be copied, the first one is
    /// the plain library's.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] where there is no libtpms, or where it
    /// cannot be copied and the plain one is in use.
    pub(super) fn new() -> Result<Self> {
        let plain = ffi::load_plain()?;
        let reason = match private(&plain) {
            Ok(library) => {
                return Ok(Self {
                    library,
                    plain: false,
                });
            }
            Err(reason) => reason,
        };
        if PLAIN_TAKEN.swap(true, Ordering::Acquire) {
            return Err(Error::with_source(
                ErrorKind::NotSupported,
                "a second TPM in one process needs a copy of libtpms of its own, \
                 which cannot be made here",
                reason,
            ));
        }
        crate::log::debug!("libtpms cannot be copied: {}", reason.report());
        match ffi::use_plain(plain) {
            Ok(library) => Ok(Self {
                library,
                plain: true,
            }),
            Err(error) => {
                PLAIN_TAKEN.store(false, Ordering::Release);
                Err(error)
            }
        }
    }
}

fn private(plain: &ffi::Plain) -> Result<Library> {
    let file = plain
        .file()
        .ok_or_else(|| Error::new(ErrorKind::NotSupported, "the file of libtpms is not known"))?;
    let copy = copied(&file).map_err(|error| {
        Error::with_source(
            ErrorKind::NotSupported,
            format!("cannot copy {} to memory", file.display()),
            error,
        )
    })?;
    ffi::load_private(&name(copy.as_raw_fd()))
}

/// A memfd with the bytes of `file`, a library.
fn copied(file: &Path) -> io::Result<OwnedFd> {
    let mut bytes = std::fs::read(file)?;
    rename(&mut bytes);
    let flags = MemfdFlags::CLOEXEC;
    // Where vm.memfd_noexec is set, what is to be executed must say so; older
    // kernels don't know the flag.
    let copy = memfd_create("libtpms", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("libtpms", flags))?;
    let mut copy = File::from(super::fd::above_stderr(copy)?);
    copy.write_all(&bytes)?;
    Ok(copy.into())
}

/// Gives the library's bytes another soname: otherwise whoever loads
/// libtpms.so.0 next, in this process, is given this copy.
fn rename(library: &mut [u8]) {
    let names = find(library, b"\0libtpms.so.0\0");
    for at in names {
        // "libtpms.so.0" becomes "libtpms.so.-".
        library[at + 12] = b'-';
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(what.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == what);
    found.map(|(at, _)| at).collect()
}

/// A path to a descriptor of this process that no earlier one was loaded by:
/// the loader takes a library of the same name for the same library. Each bit
/// of a number is one way or another to say "here".
fn name(fd: i32) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut path = String::from("/proc/self");
    while number > 0 {
        path.push_str(if number & 1 == 0 { "/." } else { "//." });
        number >>= 1;
    }
    PathBuf::from(format!("{path}/fd/{fd}"))
}
