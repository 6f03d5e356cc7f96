// SPDX-License-Identifier: BSD-2-Clause
//! A context as C uses it, through the pointer and its functions alone.

// Each function passes arguments on that a test makes wrong on purpose.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

use std::ptr;

use tss_esapi_sys::{
    TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V2, TSS2_TCTI_POLL_HANDLE, size_t,
};

/// The response codes of the TCTI layer.
pub mod rc {
    /// `TSS2_RC_SUCCESS`.
    pub const SUCCESS: u32 = 0;
    /// `TSS2_TCTI_RC_GENERAL_FAILURE`.
    pub const GENERAL_FAILURE: u32 = 0xa0001;
    /// `TSS2_TCTI_RC_NOT_IMPLEMENTED`.
    pub const NOT_IMPLEMENTED: u32 = 0xa0002;
    /// `TSS2_TCTI_RC_BAD_CONTEXT`.
    pub const BAD_CONTEXT: u32 = 0xa0003;
    /// `TSS2_TCTI_RC_ABI_MISMATCH`.
    pub const ABI_MISMATCH: u32 = 0xa0004;
    /// `TSS2_TCTI_RC_BAD_REFERENCE`.
    pub const BAD_REFERENCE: u32 = 0xa0005;
    /// `TSS2_TCTI_RC_INSUFFICIENT_BUFFER`.
    pub const INSUFFICIENT_BUFFER: u32 = 0xa0006;
    /// `TSS2_TCTI_RC_BAD_SEQUENCE`.
    pub const BAD_SEQUENCE: u32 = 0xa0007;
    /// `TSS2_TCTI_RC_NO_CONNECTION`.
    pub const NO_CONNECTION: u32 = 0xa0008;
    /// `TSS2_TCTI_RC_TRY_AGAIN`.
    pub const TRY_AGAIN: u32 = 0xa0009;
    /// `TSS2_TCTI_RC_IO_ERROR`.
    pub const IO_ERROR: u32 = 0xa000a;
    /// `TSS2_TCTI_RC_BAD_VALUE`.
    pub const BAD_VALUE: u32 = 0xa000b;
    /// `TSS2_TCTI_RC_NOT_PERMITTED`.
    pub const NOT_PERMITTED: u32 = 0xa000c;
    /// `TSS2_TCTI_RC_MALFORMED_RESPONSE`.
    pub const MALFORMED_RESPONSE: u32 = 0xa0011;
    /// `TSS2_TCTI_RC_NOT_SUPPORTED`.
    pub const NOT_SUPPORTED: u32 = 0xa0015;
}

/// A pointer to a context, whose owner outlives this value.
#[derive(Clone, Copy, Debug)]
pub struct Vtable(pub *mut TSS2_TCTI_CONTEXT);

// SAFETY: these tests show that contexts may be used from any thread.
unsafe impl Send for Vtable {}
unsafe impl Sync for Vtable {}

impl Vtable {
    /// Returns a copy of the context's functions.
    pub fn common(&self) -> TSS2_TCTI_CONTEXT_COMMON_V2 {
        // SAFETY: the owner outlives it, and each context of ours is a V2.
        unsafe { *self.0.cast() }
    }

    /// Sends a command; returns the code.
    pub fn transmit(&self, command: &[u8]) -> u32 {
        self.transmit_raw(command.len(), command.as_ptr())
    }

    /// Calls `transmit` with exactly these arguments.
    pub fn transmit_raw(&self, size: usize, command: *const u8) -> u32 {
        // SAFETY: the arguments are as valid as the test intends.
        unsafe { self.common().v1.transmit.unwrap()(self.0, size as size_t, command) }
    }

    /// Receives into a buffer of 4096 bytes.
    pub fn receive(&self, timeout: i32) -> (u32, Vec<u8>) {
        let mut buffer = vec![0; 4096];
        let (rc, size) = self.receive_into(&mut buffer, timeout);
        buffer.truncate(if rc == 0 { size } else { 0 });
        (rc, buffer)
    }

    /// Receives into `buffer`; returns the code, and the new value of `*size`.
    pub fn receive_into(&self, buffer: &mut [u8], timeout: i32) -> (u32, usize) {
        let mut size = buffer.len() as size_t;
        let rc = self.receive_raw(&mut size, buffer.as_mut_ptr(), timeout);
        (rc, size as usize)
    }

    /// Asks for the response's size with a NULL buffer.
    pub fn response_size(&self) -> (u32, usize) {
        let mut size: size_t = 0;
        let rc = self.receive_raw(&mut size, ptr::null_mut(), 0);
        (rc, size as usize)
    }

    /// Calls `receive` with exactly these arguments.
    pub fn receive_raw(&self, size: *mut size_t, response: *mut u8, timeout: i32) -> u32 {
        // SAFETY: the arguments are as valid as the test intends.
        unsafe { self.common().v1.receive.unwrap()(self.0, size, response, timeout) }
    }

    /// Calls `cancel`; returns the code.
    pub fn cancel(&self) -> u32 {
        // SAFETY: the owner outlives it.
        unsafe {
            self.common()
                .v1
                .cancel
                .map_or(rc::NOT_IMPLEMENTED, |call| call(self.0))
        }
    }

    /// Returns the code, the new value of `*num_handles`, and the handles, with an
    /// array of `places`.
    pub fn poll_handles(&self, places: usize) -> (u32, usize, Vec<TSS2_TCTI_POLL_HANDLE>) {
        let empty = TSS2_TCTI_POLL_HANDLE {
            fd: -7,
            events: 0,
            revents: 0,
        };
        let mut handles = vec![empty; places];
        let mut count = places as size_t;
        let array = if places == 0 {
            ptr::null_mut()
        } else {
            handles.as_mut_ptr()
        };
        let rc = self.poll_handles_raw(array, &mut count);
        (rc, count as usize, handles)
    }

    /// Calls `getPollHandles` with exactly these arguments.
    pub fn poll_handles_raw(&self, array: *mut TSS2_TCTI_POLL_HANDLE, count: *mut size_t) -> u32 {
        // SAFETY: the arguments are as valid as the test intends.
        unsafe {
            self.common()
                .v1
                .getPollHandles
                .map_or(rc::NOT_IMPLEMENTED, |call| call(self.0, array, count))
        }
    }

    /// Calls `setLocality`; returns the code.
    pub fn set_locality(&self, locality: u8) -> u32 {
        // SAFETY: the owner outlives it.
        unsafe {
            self.common()
                .v1
                .setLocality
                .map_or(rc::NOT_IMPLEMENTED, |call| call(self.0, locality))
        }
    }

    /// Calls `makeSticky`; returns the code.
    pub fn make_sticky(&self, handle: *mut u32, sticky: u8) -> u32 {
        // SAFETY: the arguments are as valid as the test intends.
        unsafe {
            self.common()
                .makeSticky
                .map_or(rc::NOT_IMPLEMENTED, |call| call(self.0, handle, sticky))
        }
    }

    /// Calls `finalize`.
    pub fn finalize(&self) {
        // SAFETY: the owner outlives it.
        unsafe { self.common().v1.finalize.unwrap()(self.0) }
    }
}
