// SPDX-License-Identifier: BSD-2-Clause
//! Loads libtpms: the plain library by its name, or a copy of it by a path.

use std::ffi::{CStr, OsStr, c_int, c_uchar, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use libloading::os::unix as loader;

use super::super::elf::Segment;
use super::Library;
use super::callbacks::Callbacks;
use crate::sys::fork;
use crate::{Error, ErrorKind, Result};

type Process =
    unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, *mut u32, *mut c_uchar, u32) -> u32;

/// The functions of a copy of the library, and the copy, which stays loaded
/// for as long as this lives.
pub(super) struct Loaded {
    pub(super) version: unsafe extern "C" fn() -> u32,
    pub(super) choose: unsafe extern "C" fn(c_int) -> u32,
    pub(super) register: unsafe extern "C" fn(*const Callbacks) -> u32,
    pub(super) main_init: unsafe extern "C" fn() -> u32,
    pub(super) terminate: unsafe extern "C" fn(),
    pub(super) process: Process,
    pub(super) cancel: unsafe extern "C" fn() -> u32,
    pub(super) set_state: unsafe extern "C" fn(c_int, *const c_uchar, u32) -> u32,
    pub(super) get_state: unsafe extern "C" fn(c_int, *mut *mut c_uchar, *mut u32) -> u32,
    pub(super) set_debug_fd: unsafe extern "C" fn(c_int),
    _library: Handle,
}

/// A library that is loaded until this is dropped. No fork comes in between while
/// it is loaded or unloaded.
pub(super) struct Handle(ManuallyDrop<loader::Library>);

impl Handle {
    /// # Safety
    /// As for dlopen(3): the library's initialisers are run.
    unsafe fn open(path: &Path, flags: c_int) -> std::result::Result<Self, libloading::Error> {
        // SAFETY: the caller's.
        let library = fork::without_fork(|| unsafe { loader::Library::open(Some(path), flags) });
        library.map(|library| Self(ManuallyDrop::new(library)))
    }
}

impl std::ops::Deref for Handle {
    type Target = loader::Library;

    fn deref(&self) -> &loader::Library {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        fork::without_fork(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

impl Loaded {
    pub(super) fn new(library: Handle) -> Result<Self> {
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is the function's in libtpms/tpm_library.h,
                // which has not changed since 0.6, the first with TPM 2.
                unsafe {
                    *library
                        .get(concat!($name, "\0").as_bytes())
                        .map_err(|error| {
                            Error::with_source(
                                ErrorKind::NotSupported,
                                concat!("this libtpms has no function ", $name),
                                error,
                            )
                        })?
                }
            };
        }
        Ok(Self {
            version: function!("TPMLIB_GetVersion"),
            choose: function!("TPMLIB_ChooseTPMVersion"),
            register: function!("TPMLIB_RegisterCallbacks"),
            main_init: function!("TPMLIB_MainInit"),
            terminate: function!("TPMLIB_Terminate"),
            process: function!("TPMLIB_Process"),
            cancel: function!("TPMLIB_CancelCommand"),
            set_state: function!("TPMLIB_SetState"),
            get_state: function!("TPMLIB_GetState"),
            set_debug_fd: function!("TPMLIB_SetDebugFD"),
            _library: library,
        })
    }
}

impl Library {
    /// Maps a file over a segment of this copy. The file must be the copied one, and
    /// the segment must be equal in both.
    ///
    /// # Errors
    /// The system's; the segment is as it was.
    pub(in super::super) fn map_segment(
        &self,
        segment: Segment,
        file: &File,
    ) -> std::io::Result<()> {
        let page = page_size();
        let Some(base) = self.loaded.base() else {
            return Err(std::io::Error::other("the library's address is not known"));
        };
        let before = segment.offset as usize % page;
        let address = base + segment.address as usize - before;
        let length = segment.size as usize + before;
        let mut protection = 0;
        for (flag, access) in [(4, libc::PROT_READ), (1, libc::PROT_EXEC)] {
            if segment.flags & flag != 0 {
                protection |= access;
            }
        }
        // SAFETY: the range is this copy's segment, to whole pages: the loader
        // mapped the same bytes there with the same access, and wrote nothing.
        let mapped = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                length,
                protection,
                libc::MAP_PRIVATE | libc::MAP_FIXED,
                file.as_raw_fd(),
                (segment.offset as usize - before) as libc::off_t,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Loads a library from a path. All symbols are bound now (RTLD_NOW), none are visible
/// to other libraries (RTLD_LOCAL), and its own have precedence (RTLD_DEEPBIND).
pub(in super::super) fn load_private(path: &Path) -> Result<Library> {
    // Sanitizers refuse DEEPBIND; nothing else of libtpms's is loaded for others
    // to see under them.
    let own_first = if cfg!(any(fuzzing, sanitized)) {
        0
    } else {
        libc::RTLD_DEEPBIND
    };
    let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | own_first;
    // SAFETY: libtpms's initialisers do nothing but their own set-up.
    let library = unsafe { Handle::open(path, flags) };
    Library::new(library.map_err(|error| Error::new(ErrorKind::NotSupported, error))?)
}

/// The plain library of the system, with its one TPM.
pub(in super::super) fn use_plain(plain: Plain) -> Result<Library> {
    Library::new(plain.0)
}

/// The plain library, loaded only to find its file.
pub(in super::super) struct Plain(Handle);

/// Loads the plain library by its name.
pub(in super::super) fn load_plain() -> Result<Plain> {
    const NAME: &str = "libtpms.so.0";
    // SAFETY: libtpms's initialisers do nothing but their own set-up.
    let library = unsafe { Handle::open(Path::new(NAME), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    library.map(Plain).map_err(|error| {
        Error::with_source(
            ErrorKind::NotSupported,
            "cannot load libtpms.so.0 (Debian package libtpms0)",
            error,
        )
    })
}

impl Plain {
    /// The file that it was loaded from.
    pub(in super::super) fn file(&self) -> Option<PathBuf> {
        // SAFETY: only its address is used.
        let symbol = unsafe { self.0.get::<unsafe extern "C" fn()>(b"TPMLIB_MainInit\0") }.ok()?;
        file_of(*symbol as *const c_void)
    }
}

/// Returns the file of the loaded library that an address is in.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    let name = information(address)?.dli_fname;
    if name.is_null() {
        return None;
    }
    // SAFETY: a C string that lives as long as the library is loaded.
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

impl Loaded {
    /// Returns the address that the library's relative addresses are added to.
    fn base(&self) -> Option<usize> {
        Some(information(self.version as *const c_void)?.dli_fbase as usize)
    }
}

/// Keeps the library that this code is part of loaded until the process ends: a
/// later dlclose(3) neither unmaps it nor runs its destructors. In a program that
/// this code is linked into there is nothing to do.
pub(super) fn keep_loaded() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(path) = file_of((&raw const DONE).cast()) else {
        return;
    };
    let flags = libc::RTLD_NOLOAD | libc::RTLD_NODELETE | libc::RTLD_LAZY;
    // SAFETY: nothing is loaded: the loader finds what it has under the name that
    // it gave.
    let library = unsafe { Handle::open(&path, flags) };
    std::mem::forget(library);
}

/// The size of a page of memory in bytes. (rustix's own way to it reads memory
/// that valgrind does not let it read.)
pub(in super::super) fn page_size() -> usize {
    // SAFETY: it takes a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Returns the loader's information on the library that contains an address.
fn information(address: *const c_void) -> Option<libc::Dl_info> {
    // SAFETY: all zeros is a Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address, and a place for the answer.
    (unsafe { libc::dladdr(address, &mut info) } != 0).then_some(info)
}
