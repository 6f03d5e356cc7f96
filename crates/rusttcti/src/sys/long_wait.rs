// SPDX-License-Identifier: BSD-2-Clause
//! A wait of more than a second is told in the log, once, at the level info.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::sys::deadline::Deadline;
use crate::sys::log;

/// How long a wait may take before it is told.
const SILENT: Duration = Duration::from_secs(1);

/// A wait that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongWait {
    since: Instant,
    told: bool,
}

impl LongWait {
    /// Begins a wait.
    pub(crate) fn begin() -> Self {
        Self {
            since: Instant::now(),
            told: false,
        }
    }

    /// Returns how long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns when the wait is to be told, or the deadline if that is earlier.
    pub(crate) fn next(&self, deadline: Deadline) -> Deadline {
        match self.told {
            true => deadline,
            false => deadline.or_after(SILENT.saturating_sub(self.elapsed())),
        }
    }

    /// Tells what is waited for, if it is time and was not told yet.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if !self.told && self.elapsed() >= SILENT {
            self.told = true;
            log::info!("waiting {}", what());
        }
    }
}
