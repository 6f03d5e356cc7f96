// SPDX-License-Identifier: BSD-2-Clause
//! Powers libtpms on. If libtpms refuses, the error has the text that it printed.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

use super::ffi::{Library, Part};
use super::state::State;
use crate::sys::descriptors::above_stdio;
use crate::{Error, ErrorKind, Result};

/// Powers a TPM on, with a state and its volatile part, or as a new one.
pub(super) fn power_on(
    library: &mut Library,
    state: Option<State<'_>>,
    volatile: bool,
    origin: &str,
) -> Result<()> {
    let (started, said) = match state {
        Some(state) => {
            give(library, Part::Permanent, state.permanent, origin)?;
            if volatile {
                give(library, Part::Volatile, state.volatile, origin)?;
            }
            listening(library, Library::power_on)
        }
        None => (library.power_on(), String::new()),
    };
    started.map_err(|rc| {
        Error::new(
            ErrorKind::GeneralFailure,
            format!(
                "libtpms {} does not start with {origin} (TPMLIB_MainInit: 0x{rc:x}{said})",
                version(library)
            ),
        )
    })
}

/// Gives libtpms a part of a state.
fn give(library: &mut Library, part: Part, state: &[u8], origin: &str) -> Result<()> {
    let (given, said) = listening(library, |library| library.set_state(part, state));
    given.map_err(|rc| {
        let name = match part {
            Part::Permanent => "permanent",
            Part::Volatile => "volatile",
        };
        // Each part begins with the version of its format, a magic number, and
        // the version that a reader must know at least.
        let format = match *state {
            [v1, v0, _, _, _, _, m1, m0, ..] => format!(
                "its format version is {}, for readers of {} and newer",
                u16::from_be_bytes([v1, v0]),
                u16::from_be_bytes([m1, m0])
            ),
            _ => format!("it has {} bytes", state.len()),
        };
        let version = version(library);
        Error::new(
            ErrorKind::BadValue,
            format!(
                "{origin} cannot be used: libtpms {version} refuses its {name} state \
                 (TPMLIB_SetState: 0x{rc:x}; {format}{said})"
            ),
        )
    })
}

/// Makes a call that libtpms may refuse, and returns what it printed then. (It
/// otherwise prints to no descriptor, which costs 8 KiB a message with glibc up to
/// 2.36: dprintf(3) loses a buffer.)
fn listening<T>(
    library: &mut Library,
    call: impl FnOnce(&mut Library) -> std::result::Result<T, u32>,
) -> (std::result::Result<T, u32>, String) {
    let Ok(log) = memfd_create("libtpms-log", MemfdFlags::CLOEXEC).and_then(above_stdio) else {
        return (call(library), String::new());
    };
    library.print_to(Some(&log));
    let result = call(library);
    library.print_to(None);
    let said = match result {
        Ok(_) => String::new(),
        Err(_) => first_line(&log),
    };
    (result, said)
}

fn first_line(log: &OwnedFd) -> String {
    let mut text = [0; 400];
    let length = rustix::io::pread(log, &mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("; it says \"{line}\""),
        None => String::new(),
    }
}

pub(super) fn version(library: &Library) -> String {
    let (major, minor, micro) = library.version();
    format!("{major}.{minor}.{micro}")
}
