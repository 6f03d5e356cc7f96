// SPDX-License-Identifier: BSD-2-Clause
//! The log. As in tpm2-tss, `TSS2_LOG` holds `module+level` pairs: this library is the
//! module `tcti`, and `all` is every module. `TSS2_LOGFILE` names the file that
//! messages go to instead of standard error.
//!
//! A message is one write(2), so lines of several threads do not mix. No lock is taken,
//! because a forked child could find it locked. No descriptor is kept, because
//! dlclose(3) would leak it.

#![forbid(unsafe_code)]

mod level;

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys::deadline::Deadline;
use crate::sys::{poll, sigpipe};
pub(crate) use level::{Level, level_of};
use level::{MODULE, NAMES, mistake};

/// The name of the enclosing function, as [`Location`] takes it.
macro_rules! function {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here)
    }};
}
macro_rules! location {
    () => {
        $crate::sys::log::Location {
            file: file!(),
            line: line!(),
            function: $crate::sys::log::function!(),
        }
    };
}
macro_rules! write_log {
    ($level:ident, $($arg:tt)*) => {
        if $crate::sys::log::enabled($crate::sys::log::Level::$level) {
            $crate::sys::log::write(
                $crate::sys::log::Level::$level,
                &$crate::sys::log::location!(),
                format_args!($($arg)*),
            );
        }
    };
}
macro_rules! error { ($($arg:tt)*) => { $crate::sys::log::write_log!(Error, $($arg)*) }; }
macro_rules! warning { ($($arg:tt)*) => { $crate::sys::log::write_log!(Warning, $($arg)*) }; }
macro_rules! info { ($($arg:tt)*) => { $crate::sys::log::write_log!(Info, $($arg)*) }; }
macro_rules! debug { ($($arg:tt)*) => { $crate::sys::log::write_log!(Debug, $($arg)*) }; }
/// Bytes in hexadecimal, at the level `trace` only: they may be secrets.
macro_rules! trace_bytes {
    ($label:expr, $bytes:expr) => {
        if $crate::sys::log::enabled($crate::sys::log::Level::Trace) {
            $crate::sys::log::write_bytes(&$crate::sys::log::location!(), $label, $bytes);
        }
    };
}
pub(crate) use {debug, error, function, info, location, trace_bytes, warning, write_log};

/// The source location of a message.
pub(crate) struct Location {
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    /// The path of an item within the function.
    pub(crate) function: &'static str,
}

impl Location {
    /// Returns where an error was made, in the call `function`.
    pub(crate) fn of_error(
        location: &'static panic::Location<'static>,
        function: &'static str,
    ) -> Self {
        Self {
            file: location.file(),
            line: location.line(),
            function,
        }
    }

    /// Returns the file's path within this crate. The full path would show where a
    /// module's author keeps the sources.
    fn file(&self) -> &str {
        let within = self.file.rfind("src/").unwrap_or_default();
        &self.file[within..]
    }

    fn function(&self) -> &str {
        let path = self.function.trim_end_matches("::here");
        let path = path.trim_end_matches("::{{closure}}");
        path.rsplit("::").next().unwrap_or_default()
    }
}

/// The level of this process; `UNREAD` until it is looked up.
static LEVEL: AtomicU8 = AtomicU8::new(UNREAD);
const UNREAD: u8 = u8::MAX;

/// Returns whether messages of `level` are wanted. Costs one load.
#[inline]
pub(crate) fn enabled(level: Level) -> bool {
    let wanted = match LEVEL.load(Ordering::Relaxed) {
        UNREAD => read_environment(),
        wanted => wanted,
    };
    level as u8 <= wanted
}

/// Reads the environment, once, at the first message that may have to be written.
#[cold]
fn read_environment() -> u8 {
    let pairs = std::env::var_os("TSS2_LOG").unwrap_or_default();
    let pairs = pairs.to_string_lossy();
    let level = level_of(&pairs) as u8;
    FILE.keep();
    // If two threads read it, the first one reports the mistake.
    let is_first = LEVEL.swap(level, Ordering::AcqRel) == UNREAD;
    if let Some(mistake) = mistake(&pairs).filter(|_| is_first) {
        report_mistake(&mistake, level);
    }
    level
}

/// Reports a mistake in TSS2_LOG, and the level that counts.
fn report_mistake(mistake: &str, level: u8) {
    let names = NAMES.map(|(_, name)| name).join(", ");
    let name = NAMES.iter().find(|(named, _)| *named as u8 == level);
    let name = name.map_or("", |(_, name)| name);
    warning!(
        "TSS2_LOG: {mistake} (write tcti+LEVEL, with one of {names}); the level here is {name}"
    );
}

/// TSS2_LOGFILE, kept in memory that needs no destructor and does not leak.
struct File {
    state: AtomicU8,
    len: AtomicUsize,
    path: [AtomicU8; 4096],
}

static FILE: File = File {
    state: AtomicU8::new(File::UNREAD),
    len: AtomicUsize::new(0),
    path: [const { AtomicU8::new(0) }; 4096],
};

impl File {
    const UNREAD: u8 = 0;
    const READING: u8 = 1;
    const READ: u8 = 2;

    fn of_environment() -> Vec<u8> {
        let path = std::env::var_os("TSS2_LOGFILE").unwrap_or_default();
        path.as_bytes().to_vec()
    }

    fn keep(&self) {
        let path = Self::of_environment();
        // A path that does not fit is unusable: the system has the same limit.
        let claim = self.state.compare_exchange(
            Self::UNREAD,
            Self::READING,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if path.len() > self.path.len() || claim.is_err() {
            return;
        }
        for (to, from) in self.path.iter().zip(&path) {
            to.store(*from, Ordering::Relaxed);
        }
        self.len.store(path.len(), Ordering::Relaxed);
        self.state.store(Self::READ, Ordering::Release);
    }

    fn path(&self) -> Vec<u8> {
        if self.state.load(Ordering::Acquire) != Self::READ {
            // Another thread is about to keep it, or was when the process forked.
            return Self::of_environment();
        }
        let len = self.len.load(Ordering::Relaxed);
        let bytes = self.path.iter().take(len);
        bytes.map(|byte| byte.load(Ordering::Relaxed)).collect()
    }
}

/// Writes a message, in tpm2-tss's form: a space ends it, as there.
#[cold]
pub(crate) fn write(level: Level, location: &Location, text: std::fmt::Arguments<'_>) {
    let mut line = head(level, location);
    let _ = write!(line, "{text}");
    // A message is one line, so line breaks from a peer or a file name are
    // replaced.
    let mut line = line.replace(['\n', '\r', '\0'], "?");
    line.push_str(" \n");
    put(line.as_bytes());
}

fn head(level: Level, location: &Location) -> String {
    let name = NAMES.iter().find(|(named, _)| *named == level);
    let name = name.map_or("", |(_, name)| name);
    let (file, line) = (location.file(), location.line);
    format!("{name}:{MODULE}:{file}:{line}:{}() ", location.function())
}

/// Writes bytes, in tpm2-tss's form: sixteen a line, as numbers and as text.
#[cold]
pub(crate) fn write_bytes(location: &Location, label: &str, bytes: &[u8]) {
    let mut text = head(Level::Trace, location);
    let _ = writeln!(text, "{label} (size={}): ", bytes.len());
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:04x}: ", row * 16);
        for byte in chunk {
            let _ = write!(text, "{byte:02x}");
        }
        let printed = chunk.iter().map(|byte| match byte {
            0x21..=0x7e => char::from(*byte),
            _ => '.',
        });
        let gap = 2 + 2 * (16 - chunk.len());
        let _ = writeln!(text, "{:gap$}{}", "", printed.collect::<String>());
    }
    put(text.as_bytes());
}

/// Writes to the log's destination. Failures are ignored, because they cannot be
/// reported.
fn put(message: &[u8]) {
    let path = FILE.path();
    if path.eq_ignore_ascii_case(b"stdout") || path == b"-" {
        write_all(rustix::stdio::stdout(), message);
    } else if path.is_empty() || path.eq_ignore_ascii_case(b"stderr") {
        write_all(rustix::stdio::stderr(), message);
    } else {
        match open(&path) {
            Ok(file) => write_all(file.as_fd(), message),
            Err(errno) => {
                complain(&path, errno);
                write_all(rustix::stdio::stderr(), message);
            }
        }
    }
}

fn open(path: &[u8]) -> rustix::io::Result<OwnedFd> {
    // NONBLOCK: a FIFO without a reader must not delay a TPM command.
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    loop {
        // At the level trace it holds secrets, so only its user can read it.
        match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::INTR) => {}
            Ok(fd) => return crate::sys::descriptors::above_stdio(fd),
            Err(errno) => return Err(errno),
        }
    }
}

/// Reports once that the file cannot be written.
fn complain(path: &[u8], errno: Errno) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        let path = OsStr::from_bytes(path).to_string_lossy();
        let cause = std::io::Error::from(errno);
        let text = format!("Failed to open logging file {path}: {cause}\n");
        write_all(rustix::stdio::stderr(), text.as_bytes());
    }
}

fn write_all(fd: BorrowedFd<'_>, mut left: &[u8]) {
    let deadline = Deadline::after(Some(Duration::from_secs(1)));
    while !left.is_empty() {
        match sigpipe::shielded(|| rustix::io::write(fd, left)) {
            Ok(count) => left = &left[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if poll::one(fd, PollFlags::OUT, deadline) != Ok(true) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_function_that_it_is_from() {
        let of_a_closure = || location!();
        let name = "a_message_names_the_function_that_it_is_from";
        assert_eq!(location!().function(), name);
        assert_eq!(of_a_closure().function(), name);
    }

    #[test]
    fn a_message_tells_no_more_of_a_path_than_where_it_is_in_this_crate() {
        let location = Location {
            file: "/home/me/.cargo/git/checkouts/rusttcti-1/src/abi/bridge.rs",
            ..location!()
        };
        assert_eq!(location.file(), "src/abi/bridge.rs");
        assert_eq!(location!().file(), "src/sys/log.rs");
    }
}
