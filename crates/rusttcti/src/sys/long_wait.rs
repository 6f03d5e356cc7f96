// SPDX-License-Identifier: BSD-2-Clause
//! Logs a wait of more than a second, once, at the level info.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::sys::deadline::Deadline;
use crate::sys::log;

/// How long a wait takes before it is logged.
const SILENT: Duration = Duration::from_secs(1);

/// A wait that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongWait {
    since: Instant,
    logged: bool,
}

impl LongWait {
    /// Begins a wait.
    pub(crate) fn begin() -> Self {
        Self {
            since: Instant::now(),
            logged: false,
        }
    }

    /// Returns how long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns the time at which the wait is logged, or the deadline if that is
    /// earlier.
    pub(crate) fn next(&self, deadline: Deadline) -> Deadline {
        match self.logged {
            true => deadline,
            false => deadline.or_after(SILENT.saturating_sub(self.elapsed())),
        }
    }

    /// Logs the reason of the wait, if it is time and was not logged yet.
    pub(crate) fn log_if_long(&mut self, what: impl FnOnce() -> String) {
        if !self.logged && self.elapsed() >= SILENT {
            self.logged = true;
            log::info!("waiting {}", what());
        }
    }
}
