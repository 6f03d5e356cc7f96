// SPDX-License-Identifier: BSD-2-Clause
//! Turns panics into errors: no unwinding ever reaches C.

#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, ErrorKind, Result};

/// Runs `call`. A panic in it becomes a general failure with the panic's message.
#[inline]
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    match caught(call) {
        Ok(result) => result,
        Err(panic) => Err(panic),
    }
}

/// Runs `call`, which can fail only by a panic.
#[inline(always)]
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T> {
    // Only a transport's own data may be half changed, and it stays callable; the
    // bridge sets its own state after the call.
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
        _ => "panic, with a payload that is not text".to_owned(),
    };
    // A payload of an unknown type may panic again when it is dropped; the payload
    // of that panic is not dropped.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    Error::new(ErrorKind::GeneralFailure, message)
}
