// SPDX-License-Identifier: BSD-2-Clause
//! Deadlines: points in time.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// How long a write or a connection waits for a peer whose protocol names no time. The
/// fuzzer's peers are on the same machine, so a short time lets it try more of them.
pub(crate) const PATIENCE: Duration = Duration::from_millis(if cfg!(fuzzing) { 20 } else { 5000 });

/// Returns a time as text, such as "1.234 ms". It uses no floating-point numbers:
/// formatting them would add 30 KiB to the module.
pub(crate) fn milliseconds(time: Duration) -> String {
    let microseconds = time.as_micros();
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

/// A deadline, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deadline {
    /// Wait for ever.
    Never,
    /// Do not wait: no system call to wait or to read the clock is made.
    Now,
    /// Wait until then.
    At(Instant),
}

impl Deadline {
    /// Returns the deadline of a timeout that starts now: `None` is for ever.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        match timeout {
            None => Self::Never,
            Some(Duration::ZERO) => Self::Now,
            // A time beyond the clock's range is for ever.
            Some(timeout) => Instant::now()
                .checked_add(timeout)
                .map_or(Self::Never, Self::At),
        }
    }

    /// Returns this deadline, or `time` from now if that is earlier.
    pub(crate) fn or_after(self, time: Duration) -> Self {
        match self.remaining() {
            Some(left) if left <= time => self,
            _ => Self::after(Some(time)),
        }
    }

    /// Returns the time that is left: `None` for ever, zero if it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Now => Some(Duration::ZERO),
            Self::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
        }
    }

    /// Returns whether no time is left.
    pub(crate) fn is_over(self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }
}

/// Repeats `attempt` each millisecond until it returns a value. Returns `None` at
/// the deadline, but never before the first attempt.
pub(crate) fn retry_until<T>(deadline: Deadline, attempt: impl Fn() -> Option<T>) -> Option<T> {
    loop {
        let result = attempt();
        if result.is_some() || deadline.is_over() {
            return result;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
