// SPDX-License-Identifier: BSD-2-Clause
//! libtpms itself: the functions of one loaded copy of the library, made safe.
//! All of this transport's `unsafe` is in this file.
//!
//! libtpms keeps a TPM in its global variables, so that there is one TPM per
//! loaded copy, and one call into it at a time ([`Library`] is used through
//! `&mut`). Its callbacks are given no pointer of ours: during each call a
//! thread-local one says whose TPM it is.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_int, c_uchar, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use libloading::os::unix as loader;

use super::elf::Segment;
use crate::{Error, ErrorKind, Result};

/// What libtpms answers where there is no such data (not a failure).
const TPM_RETRY: u32 = 0x800;
/// `TPM_FAIL`, a failure.
const TPM_FAIL: u32 = 9;
/// `TPMLIB_TPM_VERSION_2`.
const TPM_VERSION_2: c_int = 1;
/// The name of the permanent state (`TPM_PERMANENT_ALL_NAME`).
const PERMANENT: &CStr = c"permall";
/// What libtpms is told to print to: no descriptor has this number.
const NOWHERE: c_int = c_int::MAX;

/// What a function of libtpms comes to: a value, or its result code.
pub(super) type Called<T> = std::result::Result<T, u32>;

/// The parts of a TPM's state, as `enum TPMLIB_StateType` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Part {
    /// What outlives a power cycle.
    Permanent = 1,
    /// All else of a running TPM.
    Volatile = 2,
}

/// `struct libtpms_callbacks`.
#[repr(C)]
struct Callbacks {
    size: c_int,
    nvram_init: extern "C" fn() -> u32,
    nvram_loaddata: unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, u32, *const i8) -> u32,
    nvram_storedata: unsafe extern "C" fn(*const c_uchar, u32, u32, *const i8) -> u32,
    nvram_deletename: extern "C" fn(u32, *const i8, c_uchar) -> u32,
    io_init: extern "C" fn() -> u32,
    io_getlocality: unsafe extern "C" fn(*mut u32, u32) -> u32,
    io_getphysicalpresence: unsafe extern "C" fn(*mut c_uchar, u32) -> u32,
}

/// What the callbacks of a TPM read and write.
#[derive(Debug, Default)]
struct Host {
    /// The locality of the command that runs.
    locality: Cell<u8>,
    /// The permanent state as the TPM last asked to store it.
    permanent: RefCell<Vec<u8>>,
    /// How often it asked.
    stores: Cell<u64>,
    /// True where there is a state: libtpms then never makes up a new TPM.
    has_state: Cell<bool>,
}

thread_local! {
    /// The TPM in whose copy of the library this thread is, or NULL.
    static CURRENT: Cell<*const Host> = const { Cell::new(ptr::null()) };
}

/// Runs `answer` with the TPM that is being called; without one, fails.
fn with_host(answer: impl FnOnce(&Host) -> u32) -> u32 {
    let host = CURRENT.get();
    // SAFETY: NULL, or set by `Library::enter` to a Host that outlives the call
    // that this callback is part of, on this very thread.
    match unsafe { host.as_ref() } {
        Some(host) => answer(host),
        None => TPM_FAIL,
    }
}

extern "C" fn nothing_to_do() -> u32 {
    0
}

/// Gives back what was stored: a new TPM is read again after it was made.
unsafe extern "C" fn load(
    data: *mut *mut c_uchar,
    length: *mut u32,
    _: u32,
    name: *const i8,
) -> u32 {
    with_host(|host| {
        // SAFETY: libtpms passes a C string.
        if unsafe { CStr::from_ptr(name.cast()) } != PERMANENT {
            return TPM_RETRY;
        }
        let Ok(permanent) = host.permanent.try_borrow() else {
            return TPM_FAIL;
        };
        if permanent.is_empty() {
            // One was given by TPMLIB_SetState: "there is none" would have
            // libtpms make a new TPM, where it cannot use that one.
            return if host.has_state.get() {
                TPM_FAIL
            } else {
                TPM_RETRY
            };
        }
        // SAFETY: malloc(3) of a size that is not 0.
        let copy = unsafe { libc::malloc(permanent.len()) }.cast::<c_uchar>();
        if copy.is_null() {
            return TPM_FAIL;
        }
        // SAFETY: as many bytes as were just allocated; libtpms passes two
        // variables of its own, and frees the data.
        unsafe {
            ptr::copy_nonoverlapping(permanent.as_ptr(), copy, permanent.len());
            *data = copy;
            *length = permanent.len() as u32;
        }
        0
    })
}

unsafe extern "C" fn store(data: *const c_uchar, length: u32, _: u32, name: *const i8) -> u32 {
    with_host(|host| {
        if data.is_null() || name.is_null() {
            return TPM_FAIL;
        }
        // SAFETY: libtpms passes a C string.
        if unsafe { CStr::from_ptr(name.cast()) } != PERMANENT {
            return 0;
        }
        let Ok(mut permanent) = host.permanent.try_borrow_mut() else {
            return TPM_FAIL;
        };
        permanent.clear();
        // SAFETY: libtpms passes `length` bytes that it owns during the call.
        permanent.extend_from_slice(unsafe { std::slice::from_raw_parts(data, length as usize) });
        host.stores.set(host.stores.get() + 1);
        // Never a failure, after which the TPM would be in failure mode until
        // it is reset: the caller writes, and keeps what it cannot write.
        0
    })
}

extern "C" fn delete(_: u32, _: *const i8, _: c_uchar) -> u32 {
    0
}

unsafe extern "C" fn locality(place: *mut u32, _: u32) -> u32 {
    with_host(|host| {
        // SAFETY: libtpms passes a variable of its own.
        unsafe { *place = host.locality.get().into() };
        0
    })
}

unsafe extern "C" fn physical_presence(place: *mut c_uchar, _: u32) -> u32 {
    // SAFETY: libtpms passes a variable of its own.
    unsafe { *place = 0 };
    0
}

static CALLBACKS: Callbacks = Callbacks {
    size: size_of::<Callbacks>() as c_int,
    nvram_init: nothing_to_do,
    nvram_loaddata: load,
    nvram_storedata: store,
    nvram_deletename: delete,
    io_init: nothing_to_do,
    io_getlocality: locality,
    io_getphysicalpresence: physical_presence,
};

type Process =
    unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, *mut u32, *mut c_uchar, u32) -> u32;

/// The functions of a copy of the library, and the copy, which stays loaded
/// for as long as this lives.
struct Loaded {
    version: unsafe extern "C" fn() -> u32,
    choose: unsafe extern "C" fn(c_int) -> u32,
    register: unsafe extern "C" fn(*const Callbacks) -> u32,
    main_init: unsafe extern "C" fn() -> u32,
    terminate: unsafe extern "C" fn(),
    process: Process,
    cancel: unsafe extern "C" fn() -> u32,
    set_state: unsafe extern "C" fn(c_int, *const c_uchar, u32) -> u32,
    get_state: unsafe extern "C" fn(c_int, *mut *mut c_uchar, *mut u32) -> u32,
    set_debug_fd: unsafe extern "C" fn(c_int),
    _library: loader::Library,
}

impl Loaded {
    fn new(library: loader::Library) -> Result<Self> {
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

/// Cancels the command that runs in a copy of the library, from any thread.
#[derive(Clone)]
pub(super) struct Canceller(Arc<Loaded>);

impl Canceller {
    /// Sets the flag that long commands look at. Each command clears it when it
    /// begins.
    pub(super) fn cancel(&self) {
        // SAFETY: the library is loaded; the function sets one flag, and is
        // made to be called beside TPMLIB_Process (TPMLIB_CancelCommand(3)).
        unsafe { (self.0.cancel)() };
    }
}

/// One copy of the library: one TPM.
pub(super) struct Library {
    loaded: Arc<Loaded>,
    host: Box<Host>,
    /// The command, because libtpms decrypts parameters where they lie.
    command: Vec<u8>,
    /// libtpms's own, from malloc(3), reused by each command.
    response: *mut c_uchar,
    response_capacity: u32,
    response_size: usize,
    running: bool,
}

// SAFETY: libtpms keeps nothing per thread, and all that `response` points to
// is this value's.
unsafe impl Send for Library {}

impl Library {
    /// A TPM in a library that was just loaded, not running.
    fn new(library: loader::Library) -> Result<Self> {
        let loaded = Arc::new(Loaded::new(library)?);
        let library = Self {
            host: Box::default(),
            command: Vec::new(),
            response: ptr::null_mut(),
            response_capacity: 0,
            response_size: 0,
            running: false,
            loaded,
        };
        // SAFETY: these take numbers and a pointer to a static that is copied.
        let rc = library.enter(|loaded| unsafe {
            (loaded.set_debug_fd)(NOWHERE);
            match (loaded.choose)(TPM_VERSION_2) {
                0 => (loaded.register)(&CALLBACKS),
                rc => rc,
            }
        });
        if rc != 0 {
            return Err(Error::new(
                ErrorKind::NotSupported,
                format!("this libtpms has no TPM 2 (TPMLIB_ChooseTPMVersion: 0x{rc:x})"),
            ));
        }
        Ok(library)
    }

    /// Makes a call, whose callbacks then find this TPM.
    fn enter<T>(&self, call: impl FnOnce(&Loaded) -> T) -> T {
        let outer = CURRENT.replace(&raw const *self.host);
        let result = call(&self.loaded);
        CURRENT.set(outer);
        result
    }

    /// The library's version: major, minor, micro.
    pub(super) fn version(&self) -> (u8, u8, u8) {
        // SAFETY: the library is loaded.
        let version = unsafe { (self.loaded.version)() };
        ((version >> 16) as u8, (version >> 8) as u8, version as u8)
    }

    /// Maps a file in the place of a segment of this copy. The file must be the
    /// one that this is a copy of, and the segment one that is the same in both.
    ///
    /// # Errors
    /// The system's; the segment is as it was.
    pub(super) fn map_segment(&self, segment: Segment, file: &File) -> std::io::Result<()> {
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

    pub(super) fn canceller(&self) -> Canceller {
        Canceller(self.loaded.clone())
    }

    /// Gives a part of the state that the TPM will be powered on with. Where
    /// that fails, all parts given are forgotten.
    ///
    /// # Errors
    /// libtpms's result code, where it refuses the bytes.
    pub(super) fn set_state(&mut self, part: Part, state: &[u8]) -> Called<()> {
        let length = u32::try_from(state.len()).map_err(|_| TPM_FAIL)?;
        self.host.has_state.set(true);
        if part == Part::Permanent {
            self.host.permanent.borrow_mut().clear();
        }
        // SAFETY: the bytes are copied during the call.
        let rc = self
            .enter(|loaded| unsafe { (loaded.set_state)(part as c_int, state.as_ptr(), length) });
        if rc == 0 { Ok(()) } else { Err(rc) }
    }

    /// A part of the state, as it is now.
    ///
    /// # Errors
    /// libtpms's result code.
    pub(super) fn state(&mut self, part: Part) -> Called<Vec<u8>> {
        let mut data = ptr::null_mut();
        let mut length = 0;
        // SAFETY: two places for the results.
        let rc = self
            .enter(|loaded| unsafe { (loaded.get_state)(part as c_int, &mut data, &mut length) });
        if rc != 0 {
            return Err(rc);
        }
        if data.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: after success, `length` bytes from malloc(3), now ours.
        let state = unsafe { std::slice::from_raw_parts(data, length as usize) }.to_vec();
        // SAFETY: from malloc(3), freed once.
        unsafe { libc::free(data.cast()) };
        Ok(state)
    }

    /// Powers the TPM on: with the state that was set, or as a new one.
    ///
    /// # Errors
    /// libtpms's result code.
    pub(super) fn power_on(&mut self) -> Called<()> {
        // SAFETY: the library is loaded, and its TPM is off.
        let rc = self.enter(|loaded| unsafe { (loaded.main_init)() });
        self.running = true;
        if rc == 0 { Ok(()) } else { Err(rc) }
    }

    /// Powers the TPM off. What is volatile is lost.
    pub(super) fn power_off(&mut self) {
        if std::mem::take(&mut self.running) {
            // SAFETY: the library is loaded, and its TPM is on.
            self.enter(|loaded| unsafe { (loaded.terminate)() });
        }
    }

    /// How often the TPM asked to store its permanent state.
    pub(super) fn stores(&self) -> u64 {
        self.host.stores.get()
    }

    /// Reads the permanent state as the TPM last asked to store it.
    pub(super) fn with_stored<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        read(&self.host.permanent.borrow())
    }

    /// Runs a command, and returns the response.
    ///
    /// # Errors
    /// libtpms's result code, where there is no response at all.
    pub(super) fn process(&mut self, command: &[u8], locality: u8) -> Called<&[u8]> {
        self.host.locality.set(locality);
        self.command.clear();
        self.command.extend_from_slice(command);
        let length = self.command.len() as u32;
        let bytes = self.command.as_mut_ptr();
        let mut response = self.response;
        let mut capacity = self.response_capacity;
        let mut size = 0;
        self.response_size = 0;
        // SAFETY: `length` writable bytes; a buffer from malloc(3), or NULL, of
        // `capacity` bytes, which libtpms makes larger as it needs.
        let rc = self.enter(|loaded| unsafe {
            (loaded.process)(&mut response, &mut size, &mut capacity, bytes, length)
        });
        self.response = response;
        self.response_capacity = capacity;
        if rc != 0 {
            return Err(rc);
        }
        if response.is_null() || size > capacity {
            return Err(TPM_FAIL);
        }
        self.response_size = size as usize;
        Ok(self.response())
    }

    /// The response to the last command, once more.
    pub(super) fn response(&self) -> &[u8] {
        if self.response.is_null() {
            return &[];
        }
        // SAFETY: `process` made sure that the buffer has so many bytes; libtpms
        // touches them in the next command only, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.response, self.response_size) }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.power_off();
        // SAFETY: NULL or from malloc(3), and freed once.
        unsafe { libc::free(self.response.cast()) };
    }
}

/// Loads a library from a path: all its symbols now, none for others to see,
/// and its own before those of others.
pub(super) fn load_private(path: &Path) -> Result<Library> {
    let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_DEEPBIND;
    // SAFETY: libtpms's initialisers do nothing but their own set-up.
    let library = unsafe { loader::Library::open(Some(path), flags) };
    Library::new(library.map_err(|error| Error::new(ErrorKind::NotSupported, error))?)
}

/// The plain library, as the system has it: its one TPM.
pub(super) fn use_plain(plain: Plain) -> Result<Library> {
    Library::new(plain.0)
}

/// The plain library, loaded and not used.
pub(super) struct Plain(loader::Library);

/// Loads the plain library by its name.
pub(super) fn load_plain() -> Result<Plain> {
    const NAME: &str = "libtpms.so.0";
    // SAFETY: libtpms's initialisers do nothing but their own set-up.
    let library = unsafe { loader::Library::open(Some(NAME), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
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
    pub(super) fn file(&self) -> Option<PathBuf> {
        // SAFETY: only its address is used.
        let symbol = unsafe { self.0.get::<unsafe extern "C" fn()>(b"TPMLIB_MainInit\0") }.ok()?;
        let name = information(*symbol as *const c_void)?.dli_fname;
        if name.is_null() {
            return None;
        }
        // SAFETY: a C string that lives as long as the library is loaded.
        let name = unsafe { CStr::from_ptr(name) };
        Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
    }
}

impl Loaded {
    /// The address that the library's relative addresses are added to.
    fn base(&self) -> Option<usize> {
        Some(information(self.version as *const c_void)?.dli_fbase as usize)
    }
}

/// The size of a page of memory in bytes. (rustix's own way to it reads memory
/// that valgrind does not let it read.)
pub(super) fn page_size() -> usize {
    // SAFETY: it takes a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// What the loader knows of the library that an address is in.
fn information(address: *const c_void) -> Option<libc::Dl_info> {
    // SAFETY: all zeros is a Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address, and a place for the answer.
    (unsafe { libc::dladdr(address, &mut info) } != 0).then_some(info)
}
