// SPDX-License-Identifier: BSD-2-Clause
//! Keeps errors across the C boundary, which only a number crosses.
//!
//! The text of a thread's last failure is kept in a fixed place, for C to read. The
//! [`Error`] itself goes to the Rust caller that waits for it further up the same
//! stack, if there is one: [`catch`] provides a place for it. No thread-local here
//! needs a destructor, which would keep the library from being unloaded.

use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_char;
use std::ptr;

use super::foreign_error::{self, LoadedModule};
use crate::sys::log;
use crate::sys::panic::guarded;
use crate::{Error, ErrorKind};

/// The length of the longest text that is kept, in bytes, with the closing NUL.
const CAPACITY: usize = 2048;

thread_local! {
    static TEXT: UnsafeCell<[u8; CAPACITY]> = const { UnsafeCell::new([0; CAPACITY]) };
    static PLACE: Cell<*mut Option<Error>> = const { Cell::new(ptr::null_mut()) };
}

/// Records `error` and its text as this thread's last failure.
fn record(error: &Error, text: &str) {
    keep(text);
    let place = PLACE.get();
    if !place.is_null() {
        // SAFETY: `catch` keeps the pointer in PLACE only while the option lives. The
        // option is further up this thread's stack and is not touched until `catch`
        // goes on.
        let before = unsafe { place.replace(Some(error.clone())) };
        // The error's cause may be of any type, and its drop may panic.
        let _ = guarded(|| {
            drop(before);
            Ok(())
        });
    }
}

/// Returns the text of an error. It may come from a transport's own type, and panic.
fn words(error: &Error) -> Cow<'static, str> {
    match error.message_without_allocation() {
        Some(text) => text.into(),
        None => guarded(|| Ok(error.report()))
            .unwrap_or_else(|panic| panic.to_string())
            .into(),
    }
}

/// Copies `text` to this thread's place, cut at a character's end to fit.
fn keep(text: &str) {
    let mut end = text.len().min(CAPACITY - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    TEXT.with(|place| {
        // SAFETY: only this thread uses the cell, and no reference to it outlives this
        // closure. C reads through its pointer between calls.
        let place = unsafe { &mut *place.get() };
        for (to, from) in place.iter_mut().zip(text.as_bytes()[..end].iter()) {
            // A NUL inside would cut the text short for C.
            *to = if *from == 0 { b'?' } else { *from };
        }
        place[end] = 0;
    });
}

/// Returns this thread's last failure as a C string; empty if there was none. It is
/// valid until the thread's next failure.
#[doc(hidden)]
pub fn last_text() -> *const c_char {
    TEXT.with(|place| place.get().cast::<c_char>().cast_const())
}

/// Makes a call through C and turns its response code into a result. If one of our own
/// contexts failed, the result is the very error that it failed with; if another
/// rusttcti module failed, an error with that module's text.
pub(super) fn catch(
    module: Option<&LoadedModule>,
    call: impl FnOnce() -> u32,
) -> Result<(), Error> {
    match caught(call) {
        (0, _) => Ok(()),
        (rc, Some(error)) if error.rc() == rc => Err(error),
        (rc, _) => Err(foreign(module, rc)),
    }
}

/// Makes a call that returns no code to C, and returns the error of one of our own
/// contexts that failed in it.
pub(super) fn catch_silent(call: impl FnOnce()) -> Result<(), Error> {
    match caught(call) {
        ((), Some(error)) => Err(error),
        ((), None) => Ok(()),
    }
}

/// Makes a call, and returns its result with this thread's last failure in it.
fn caught<T>(call: impl FnOnce() -> T) -> (T, Option<Error>) {
    /// Restores the outer place, also when the call panics.
    struct Restore(*mut Option<Error>);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLACE.set(self.0);
        }
    }

    let mut caught: Option<Error> = None;
    let restore = Restore(PLACE.replace(&raw mut caught));
    let answer = call();
    drop(restore);
    (answer, caught)
}

/// Returns the error for a response code that did not come from our contexts, with the
/// text of tss2-rc.
pub(super) fn of_code(rc: u32) -> Error {
    foreign(None, rc)
}

/// Returns the error of third-party code, with that code's own text or the text of
/// tss2-rc, unless the code is part of the protocol, such as TRY_AGAIN.
fn foreign(module: Option<&LoadedModule>, rc: u32) -> Error {
    let error = Error::from_rc(rc);
    if matches!(
        error.kind(),
        ErrorKind::TryAgain | ErrorKind::InsufficientBuffer
    ) {
        return error;
    }
    let told = module
        .and_then(LoadedModule::text)
        .filter(|text| !text.is_empty());
    match told.or_else(|| foreign_error::of_code(rc)) {
        Some(words) => Error::from_rc_with(rc, format!("{words} (0x{rc:08x})")),
        None => error,
    }
}

/// Returns the response code of `result`, after its error was kept and logged.
#[inline]
pub(super) fn answer(what: &'static str, result: Result<(), Error>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            let level = match error.kind() {
                // These are part of the protocol, and callers expect them.
                ErrorKind::TryAgain | ErrorKind::InsufficientBuffer | ErrorKind::NotImplemented => {
                    log::Level::Debug
                }
                _ => log::Level::Error,
            };
            failure(what, error, level)
        }
    }
}

/// Returns the response code of an attempt to open a context, as [`answer`] does. No
/// failure of it is expected, so each is logged as an error.
pub(super) fn opened(what: &'static str, result: Result<(), Error>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => failure(what, error, log::Level::Error),
    }
}

#[cold]
fn failure(what: &'static str, error: Error, level: log::Level) -> u32 {
    let rc = error.rc();
    let text = words(&error);
    record(&error, &text);
    if log::enabled(level) {
        let place = match error.location() {
            Some(location) => log::Location::of_error(location, what),
            None => log::location!(),
        };
        log::write(level, &place, format_args!("{what}: {text}"));
    }
    // The last drop of the error drops its cause, of any type.
    let _ = guarded(|| {
        drop(error);
        Ok(())
    });
    rc
}
