// SPDX-License-Identifier: BSD-2-Clause
//! Loads a copy of libtpms for each TPM: a memfd with the library's bytes, which
//! dlopen(3) opens by its path in /proc.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};

use super::elf::Elf;
use super::ffi::{self, Library};
use crate::sys::descriptors::above_stdio;
use crate::sys::fork;
use crate::{Error, ErrorKind, Result};

/// Whether a context uses the plain library's one TPM.
static PLAIN_TAKEN: AtomicBool = AtomicBool::new(false);

/// A copy of libtpms: one TPM.
pub(super) struct Copy {
    pub(super) library: Library,
    /// Whether it is the plain library, not a copy.
    plain: bool,
    /// The library's own file.
    file: Option<PathBuf>,
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
    /// Loads a copy. If the library cannot be copied, the first TPM uses the plain
    /// library.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] if libtpms is not installed, or if it cannot be
    /// copied and the plain one is in use.
    pub(super) fn new() -> Result<Self> {
        let plain = ffi::load_plain()?;
        let file = plain.file();
        let reason = match private(file.as_deref()) {
            Ok(library) => {
                return Ok(Self {
                    library,
                    plain: false,
                    file,
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
        crate::sys::log::debug!("libtpms cannot be copied: {}", reason.report());
        match ffi::use_plain(plain) {
            Ok(library) => Ok(Self {
                library,
                plain: true,
                file,
            }),
            Err(error) => {
                PLAIN_TAKEN.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// Returns the file of the library that this is a copy of, if it is known.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

fn private(file: Option<&Path>) -> Result<Library> {
    let path = file
        .ok_or_else(|| Error::new(ErrorKind::NotSupported, "the file of libtpms is not known"))?;
    let not_copied = |error: io::Error| {
        Error::with_source(
            ErrorKind::NotSupported,
            format!("cannot copy {} to memory", path.display()),
            error,
        )
    };
    let original = open(path).map_err(not_copied)?;
    let elf = Elf::parse(&original).ok_or_else(|| {
        not_copied(io::Error::other(
            "it is not a library for this kind of processor",
        ))
    })?;
    let copy = memory(&original, &elf).map_err(not_copied)?;
    let name = name(&copy).map_err(not_copied)?;
    // No fork in between: a child would have code mapped from the memfd whose pages
    // `share` frees, and would crash when it exits.
    fork::without_fork(|| {
        let library = ffi::load_private(&name)?;
        share(&library, &elf, &original, &copy);
        Ok(library)
    })
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    Ok(File::from(above_stdio(file.into())?))
}

/// Returns a memfd with the bytes of a library, in which its soname is changed.
/// Otherwise the loader would return this copy to the next caller that loads
/// libtpms.so.0 in this process.
fn memory(library: &File, elf: &Elf) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    // If vm.memfd_noexec is set, a file to be executed needs a flag. Older kernels do
    // not know that flag.
    let copy = memfd_create("libtpms", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("libtpms", flags))?;
    let mut copy = File::from(above_stdio(copy)?);
    // sendfile(2) copies within the kernel. After a signal it goes on from the same
    // offset.
    while let Err(error) = io::copy(&mut &*library, &mut copy) {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    copy.write_all_at(b"_", elf.soname)?;
    Ok(copy)
}

/// Maps the library's own file over the copy's code and constants, so that all copies
/// share these pages. Only relocated or renamed pages stay separate. A failure costs
/// only memory.
fn share(library: &Library, elf: &Elf, original: &File, copy: &File) {
    if elf.has_text_relocations {
        return;
    }
    let page = ffi::page_size() as u64;
    for segment in &elf.segments {
        if !segment.is_constant() || segment.holds(elf.soname) {
            continue;
        }
        if library.map_segment(*segment, original).is_err() {
            return;
        }
        // The copy's pages that belong to this segment alone.
        let start = segment.offset.next_multiple_of(page);
        let end = (segment.offset + segment.size) / page * page;
        if start < end {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(copy, flags, start, end - start);
        }
    }
}

/// Returns a path to a file of this process that is unique among the loaded libraries:
/// the loader takes two libraries of the same path for one library. The inode number
/// makes the path unique as long as the file exists, that is, while the library is
/// loaded. Each bit of the number selects one of two ways to write "this folder".
fn name(file: &File) -> io::Result<PathBuf> {
    let mut number = file.metadata()?.ino();
    let mut path = String::from("/proc/self");
    while number > 0 {
        path.push_str(if number & 1 == 0 { "/." } else { "//." });
        number >>= 1;
    }
    Ok(PathBuf::from(format!("{path}/fd/{}", file.as_raw_fd())))
}
