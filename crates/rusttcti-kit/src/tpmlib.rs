// SPDX-License-Identifier: BSD-2-Clause
//! A TPM of libtpms for test peers: a separate copy of the library, with the TPM's
//! state in this process's memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uchar};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The flag RTLD_DEEPBIND of dlopen, which sanitizers refuse.
const RTLD_DEEPBIND: c_int = if cfg!(sanitized) { 0 } else { 8 };
/// TPM_RETRY: no such state exists yet.
const RETRY: u32 = 0x800;
const TPM_2: c_int = 1;

/// One TPM.
pub struct Tpm {
    library: Library,
    /// The file of the copy. It stays open so that the next copy has another name, by
    /// which the loader distinguishes them.
    _file: File,
    world: World,
    /// The lock for libtpms, which one thread at a time may use, except for cancel.
    busy: Mutex<()>,
    running: AtomicBool,
}

/// The state that the library's callbacks use, on the thread that is in a call of it.
#[derive(Clone)]
struct World {
    memory: Arc<Mutex<HashMap<CString, Vec<u8>>>>,
    locality: Arc<AtomicU8>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

#[repr(C)]
struct Callbacks {
    size: c_int,
    init: extern "C" fn() -> u32,
    load: unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, u32, *const c_char) -> u32,
    store: unsafe extern "C" fn(*const c_uchar, u32, u32, *const c_char) -> u32,
    delete: unsafe extern "C" fn(u32, *const c_char, c_uchar) -> u32,
    io_init: extern "C" fn() -> u32,
    locality: unsafe extern "C" fn(*mut u32, u32) -> u32,
    presence: unsafe extern "C" fn(*mut c_uchar, u32) -> u32,
}

fn world() -> World {
    WORLD.with_borrow(|world| world.clone().expect("set before each call"))
}

extern "C" fn nothing() -> u32 {
    0
}

unsafe extern "C" fn load(
    data: *mut *mut c_uchar,
    length: *mut u32,
    _: u32,
    name: *const c_char,
) -> u32 {
    // SAFETY: libtpms gives a name, and two places for the result, which it frees with
    // free().
    unsafe {
        let world = world();
        let memory = world.memory.lock().unwrap();
        let Some(stored) = memory.get(CStr::from_ptr(name)) else {
            return RETRY;
        };
        let copy = libc::malloc(stored.len().max(1)).cast::<c_uchar>();
        ptr::copy_nonoverlapping(stored.as_ptr(), copy, stored.len());
        *data = copy;
        *length = stored.len() as u32;
    }
    0
}

unsafe extern "C" fn store(data: *const c_uchar, length: u32, _: u32, name: *const c_char) -> u32 {
    // SAFETY: libtpms gives a name and `length` bytes.
    let (name, data) = unsafe {
        let data = match length {
            0 => &[],
            _ => std::slice::from_raw_parts(data, length as usize),
        };
        (CStr::from_ptr(name).to_owned(), data.to_vec())
    };
    world().memory.lock().unwrap().insert(name, data);
    0
}

unsafe extern "C" fn delete(_: u32, name: *const c_char, _: c_uchar) -> u32 {
    // SAFETY: libtpms gives a name.
    let name = unsafe { CStr::from_ptr(name) };
    world().memory.lock().unwrap().remove(name);
    0
}

unsafe extern "C" fn locality(value: *mut u32, _: u32) -> u32 {
    // SAFETY: libtpms gives a place for it.
    unsafe { *value = world().locality.load(Ordering::SeqCst).into() };
    0
}

unsafe extern "C" fn presence(value: *mut c_uchar, _: u32) -> u32 {
    // SAFETY: libtpms gives a place for it.
    unsafe { *value = 0 };
    0
}

impl Tpm {
    /// Makes a TPM without power; `locality` is the locality of each command.
    pub fn new(locality: Arc<AtomicU8>) -> Self {
        let (library, file) = private_copy();
        let tpm = Self {
            library,
            _file: file,
            world: World {
                memory: Arc::default(),
                locality,
            },
            busy: Mutex::new(()),
            running: AtomicBool::new(false),
        };
        let mut callbacks = Callbacks {
            size: size_of::<Callbacks>() as c_int,
            init: nothing,
            load,
            store,
            delete,
            io_init: nothing,
            locality: self::locality,
            presence,
        };
        // SAFETY: as tpm_library.h declares them; the callbacks are copied.
        unsafe {
            let choose =
                tpm.function::<unsafe extern "C" fn(c_int) -> u32>("TPMLIB_ChooseTPMVersion");
            assert_eq!(choose(TPM_2), 0);
            let register = tpm.function::<unsafe extern "C" fn(*mut Callbacks) -> u32>(
                "TPMLIB_RegisterCallbacks",
            );
            assert_eq!(register(&mut callbacks), 0);
        }
        tpm
    }

    /// # Safety
    /// The function is of this type.
    unsafe fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: this function has the same contract.
        *unsafe { self.library.get::<F>(name.as_bytes()) }.expect(name)
    }

    fn enter<T>(&self, call: impl FnOnce() -> T) -> T {
        let _busy = self.busy.lock().unwrap();
        WORLD.set(Some(self.world.clone()));
        call()
    }

    /// Switches the TPM's power on.
    pub fn power_on(&self) {
        self.enter(|| {
            // SAFETY: as tpm_library.h declares it.
            let init = unsafe { self.function::<unsafe extern "C" fn() -> u32>("TPMLIB_MainInit") };
            // SAFETY: one thread at a time.
            assert_eq!(unsafe { init() }, 0);
        });
    }

    /// Switches the TPM's power off.
    pub fn power_off(&self) {
        self.enter(|| {
            // SAFETY: as tpm_library.h declares it.
            let terminate = unsafe { self.function::<unsafe extern "C" fn()>("TPMLIB_Terminate") };
            // SAFETY: one thread at a time.
            unsafe { terminate() };
        });
    }

    /// Runs a command, and returns its response.
    pub fn process(&self, command: &[u8]) -> Vec<u8> {
        type Process =
            unsafe extern "C" fn(*mut *mut u8, *mut u32, *mut u32, *const u8, u32) -> u32;
        self.enter(|| {
            let (mut response, mut size, mut capacity) = (ptr::null_mut(), 0, 0);
            self.running.store(true, Ordering::SeqCst);
            // SAFETY: as tpm_library.h declares it; it allocates the response.
            let bytes = unsafe {
                let process = self.function::<Process>("TPMLIB_Process");
                let result = process(
                    &mut response,
                    &mut size,
                    &mut capacity,
                    command.as_ptr(),
                    command.len() as u32,
                );
                assert_eq!(result, 0);
                let bytes = std::slice::from_raw_parts(response, size as usize).to_vec();
                libc::free(response.cast());
                bytes
            };
            self.running.store(false, Ordering::SeqCst);
            bytes
        })
    }

    /// Cancels the command under way, if there is one: libtpms forgets a cancel that
    /// comes while a command is only just beginning.
    pub fn cancel(&self) {
        // SAFETY: as tpm_library.h declares it.
        let cancel =
            unsafe { self.function::<unsafe extern "C" fn() -> u32>("TPMLIB_CancelCommand") };
        for _ in 0..1000 {
            if !self.running.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: any thread may call it.
            unsafe { cancel() };
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Loads libtpms once more: each loaded copy holds one TPM.
fn private_copy() -> (Library, File) {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(bytes);
    let file = rustix::fs::memfd_create("libtpms", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    let mut file = File::from(file);
    file.write_all(bytes).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: libtpms's initialisers have no effect.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND) };
    (library.expect("the copy loads"), file)
}

/// Returns the bytes of the library's file. The loader finds it, before a copy exists,
/// which would have the same name.
fn bytes() -> Vec<u8> {
    // SAFETY: libtpms's initialisers have no effect.
    let _library = unsafe { Library::open(Some("libtpms.so.0"), RTLD_NOW | RTLD_LOCAL) }
        .expect("libtpms.so.0 (Debian's package libtpms0)");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
    let path = maps
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, path)| format!("/{path}"))
        .find(|path| path.contains("/libtpms.so"))
        .expect("it is mapped");
    std::fs::read(path).expect("the library's file")
}
