// SPDX-License-Identifier: BSD-2-Clause
//! TSS2_LOG, as tpm2-tss spells it. To be written.

/// How much a message matters, as tpm2-tss numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code)]
pub(crate) enum Level {
    Error = 2,
    Warning = 3,
    Info = 4,
    Debug = 5,
    Trace = 6,
}

macro_rules! write_log {
    ($level:ident, $($arg:tt)*) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, file!(), line!(), &format!($($arg)*));
        }
    };
}
macro_rules! error { ($($arg:tt)*) => { $crate::log::write_log!(Error, $($arg)*) }; }
macro_rules! warning { ($($arg:tt)*) => { $crate::log::write_log!(Warning, $($arg)*) }; }
macro_rules! debug { ($($arg:tt)*) => { $crate::log::write_log!(Debug, $($arg)*) }; }
#[allow(unused_imports)]
pub(crate) use {debug, error, warning, write_log};

pub(crate) fn enabled(level: Level) -> bool {
    level <= Level::Warning
}

pub(crate) fn write(level: Level, file: &str, line: u32, text: &str) {
    eprintln!("{level:?}:tcti:{file}:{line} {text}");
}
