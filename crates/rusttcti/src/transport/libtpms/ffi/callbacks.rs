// SPDX-License-Identifier: BSD-2-Clause
//! The functions that libtpms calls: it asks for a locality and stores its
//! permanent state. They get no pointer of ours: a thread-local one names the TPM
//! during each call into libtpms.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_uchar};
use std::ptr;

/// The answer to libtpms if there is no such data (not a failure).
const TPM_RETRY: u32 = 0x800;
/// `TPM_FAIL`, a failure.
pub(super) const TPM_FAIL: u32 = 9;
/// The name of the permanent state (`TPM_PERMANENT_ALL_NAME`).
const PERMANENT: &CStr = c"permall";

/// `struct libtpms_callbacks`.
#[repr(C)]
pub(super) struct Callbacks {
    size: c_int,
    nvram_init: extern "C" fn() -> u32,
    nvram_loaddata: unsafe extern "C" fn(*mut *mut c_uchar, *mut u32, u32, *const i8) -> u32,
    nvram_storedata: unsafe extern "C" fn(*const c_uchar, u32, u32, *const i8) -> u32,
    nvram_deletename: extern "C" fn(u32, *const i8, c_uchar) -> u32,
    io_init: extern "C" fn() -> u32,
    io_getlocality: unsafe extern "C" fn(*mut u32, u32) -> u32,
    io_getphysicalpresence: unsafe extern "C" fn(*mut c_uchar, u32) -> u32,
}

/// The data that a TPM's callbacks read and write.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// The locality of the command that runs.
    pub(super) locality: Cell<u8>,
    /// The permanent state as the TPM last asked to store it.
    pub(super) permanent: RefCell<Vec<u8>>,
    /// How often the TPM asked to store it.
    pub(super) stores: Cell<u64>,
    /// Whether there is a state: libtpms then never makes a new TPM.
    pub(super) has_state: Cell<bool>,
}

thread_local! {
    /// The TPM whose copy of the library this thread has called, or NULL.
    static CURRENT: Cell<*const Host> = const { Cell::new(ptr::null()) };
}

impl Host {
    /// Makes a call into a copy of the library, whose callbacks then find this.
    #[inline(always)]
    pub(super) fn called<T>(&self, call: impl FnOnce() -> T) -> T {
        CURRENT.with(|current| {
            let outer = current.replace(ptr::from_ref(self));
            let result = call();
            current.set(outer);
            result
        })
    }
}

/// Runs `answer` with the TPM that is being called; without one, fails.
fn with_host(answer: impl FnOnce(&Host) -> u32) -> u32 {
    let host = CURRENT.get();
    // SAFETY: NULL, or set by `Host::called` to a Host that outlives the call
    // that this callback is part of, on this very thread.
    match unsafe { host.as_ref() } {
        Some(host) => answer(host),
        None => TPM_FAIL,
    }
}

extern "C" fn nothing_to_do() -> u32 {
    0
}

/// Returns the stored state: libtpms reads the state of a new TPM after it made it.
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
        // Never a failure: the TPM would be in failure mode until it is reset. The
        // caller writes the file, and tries again where it cannot.
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

/// The table of the functions that libtpms calls.
pub(super) static CALLBACKS: Callbacks = Callbacks {
    size: size_of::<Callbacks>() as c_int,
    nvram_init: nothing_to_do,
    nvram_loaddata: load,
    nvram_storedata: store,
    nvram_deletename: delete,
    io_init: nothing_to_do,
    io_getlocality: locality,
    io_getphysicalpresence: physical_presence,
};
