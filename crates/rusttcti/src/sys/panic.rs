// SPDX-License-Identifier: BSD-2-Clause
//! Where a panic ends: no unwinding ever reaches C.

#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, ErrorKind, Result};

/// Runs `call`; a panic in it becomes a general failure that tells its message.
#[inline]
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    match caught(call) {
        Ok(result) => result,
        Err(panic) => Err(panic),
    }
}

/// The same for a call that has no other failure than a panic.
#[inline(always)]
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T> {
    // Whatever the call left half done belongs to a transport, whose methods
    // are what may be called next; the bridge's own state is set after it.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Ok(value),
        Err(payload) => Err(error(payload)),
    }
}

#[cold]
fn error(payload: Box<dyn Any + Send>) -> Error {
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => format!("panic: {text}"),
        (_, Some(text)) => format!("panic: {text}"),
        _ => "panic, with a payload that is no text".to_owned(),
    };
    // A payload of an unknown type may panic once more when it is dropped; what
    // that one carries is left alone.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    Error::new(ErrorKind::GeneralFailure, message)
}
