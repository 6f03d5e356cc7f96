// SPDX-License-Identifier: BSD-2-Clause
//! Logs each transport that was opened, in one line at the level info. A bug report
//! needs this line.

#![forbid(unsafe_code)]

use std::time::Instant;

use crate::sys::deadline::milliseconds;
use crate::sys::log;

/// The opening of a transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening(Instant);

impl Opening {
    /// Begins to measure the time.
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Logs what was opened. `what` names the transport and its peer; it is called only
    /// if the line is written.
    pub(crate) fn done(self, what: impl FnOnce() -> String) {
        if log::enabled(log::Level::Info) {
            log::info!(
                "rusttcti {} opened {} in {}",
                env!("CARGO_PKG_VERSION"),
                what(),
                milliseconds(self.0.elapsed())
            );
        }
    }
}
