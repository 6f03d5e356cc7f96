// SPDX-License-Identifier: BSD-2-Clause
//! Errors kept across the native boundary, where only a number passes.
//!
//! The text of a thread's last failure stays in a fixed place for C to read.
//! The [`Error`] itself goes to the Rust caller that is waiting for it further
//! up the same stack, if there is one: [`catch`] puts out a place for it.
//! Nothing here needs a destructor when a thread ends, which would keep the
//! library from being unloaded.

use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_char;
use std::ptr;

use super::words::{self, Peer};
use crate::sys::log;
use crate::sys::panic::guarded;
use crate::{Error, ErrorKind};

/// The longest text that is kept, in bytes, the closing NUL included.
const CAPACITY: usize = 2048;

thread_local! {
    static TEXT: UnsafeCell<[u8; CAPACITY]> = const { UnsafeCell::new([0; CAPACITY]) };
    static PLACE: Cell<*mut Option<Error>> = const { Cell::new(ptr::null_mut()) };
}

/// Keeps `error` as this thread's last failure, with the words it has.
fn record(error: &Error, text: &str) {
    keep(text);
    let place = PLACE.get();
    if !place.is_null() {
        // SAFETY: `catch` keeps the pointer in PLACE only while the option it
        // points to lives, further up this thread's stack, where it is not
        // touched until `catch` goes on.
        let before = unsafe { place.replace(Some(error.clone())) };
        // Its cause may be of any type, and panic.
        let _ = guarded(|| {
            drop(before);
            Ok(())
        });
    }
}

/// The words of an error, which may come from a transport's own type, and panic.
fn words(error: &Error) -> Cow<'static, str> {
    match error.message_without_allocation() {
        Some(text) => text.into(),
        None => guarded(|| Ok(error.report()))
            .unwrap_or_else(|panic| panic.to_string())
            .into(),
    }
}

/// Copies `text` to this thread's place, cut to what fits, at a character's end.
fn keep(text: &str) {
    let mut end = text.len().min(CAPACITY - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    TEXT.with(|place| {
        // SAFETY: the cell is this thread's alone and no reference to it is
        // kept beyond this closure; C's pointer is read by C, between calls.
        let place = unsafe { &mut *place.get() };
        for (to, from) in place.iter_mut().zip(text.as_bytes()[..end].iter()) {
            // A NUL within would cut the text short for C.
            *to = if *from == 0 { b'?' } else { *from };
        }
        place[end] = 0;
    });
}

/// This thread's last failure as a C string; empty where there was none. Valid
/// until the thread's next failure.
#[doc(hidden)]
pub fn last_text() -> *const c_char {
    TEXT.with(|place| place.get().cast::<c_char>().cast_const())
}

/// Makes a call through C and turns its response code into a result: where one
/// of our own contexts was what failed, into the very error that it failed with;
/// where it was one of another rusttcti module, into that one's words.
pub(super) fn catch(peer: Option<&Peer>, call: impl FnOnce() -> u32) -> Result<(), Error> {
    match caught(call) {
        (0, _) => Ok(()),
        (rc, Some(error)) if error.rc() == rc => Err(error),
        (rc, _) => Err(foreign(peer, rc)),
    }
}

/// The same for a call that C gives no answer to: what one of our own contexts
/// failed with in it.
pub(super) fn catch_silent(call: impl FnOnce()) -> Result<(), Error> {
    match caught(call) {
        ((), Some(error)) => Err(error),
        ((), None) => Ok(()),
    }
}

/// Makes a call, and says what this thread's last failure in it was.
fn caught<T>(call: impl FnOnce() -> T) -> (T, Option<Error>) {
    /// Puts the outer place back, also when the call panics.
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

/// Returns the error of a response code that none of our contexts failed with,
/// with tss2-rc's words for it.
pub(super) fn of_code(rc: u32) -> Error {
    foreign(None, rc)
}

/// The failure of somebody else's code, in its own words or tss2-rc's where it
/// is more than a turn of the protocol.
fn foreign(peer: Option<&Peer>, rc: u32) -> Error {
    let error = Error::from_rc(rc);
    if matches!(
        error.kind(),
        ErrorKind::TryAgain | ErrorKind::InsufficientBuffer
    ) {
        return error;
    }
    let told = peer.and_then(Peer::text).filter(|text| !text.is_empty());
    match told.or_else(|| words::of_code(rc)) {
        Some(words) => Error::from_rc_with(rc, format!("{words} (0x{rc:08x})")),
        None => error,
    }
}

/// The response code of `result`, its error kept and logged.
#[inline]
pub(super) fn answer(what: &'static str, result: Result<(), Error>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => failure(what, error),
    }
}

#[cold]
fn failure(what: &'static str, error: Error) -> u32 {
    let rc = error.rc();
    let text = words(&error);
    record(&error, &text);
    let level = match error.kind() {
        // Part of the protocol, and expected by its callers.
        ErrorKind::TryAgain | ErrorKind::InsufficientBuffer | ErrorKind::NotImplemented => {
            log::Level::Debug
        }
        _ => log::Level::Error,
    };
    if log::enabled(level) {
        let place = match error.location() {
            Some(location) => log::Location::of_error(location, what),
            None => log::location!(),
        };
        log::write(level, &place, format_args!("{what}: {text}"));
    }
    // Dropping the last of it drops its cause, of any type.
    let _ = guarded(|| {
        drop(error);
        Ok(())
    });
    rc
}
