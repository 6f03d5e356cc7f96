// SPDX-License-Identifier: BSD-2-Clause
//! The system's monotonic clock, as the driver of tpm-tis uses it.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use tpm_tis::Clock;
use tpm_tis::hal::delay::DelayNs;

#[derive(Debug)]
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl DelayNs for SystemClock {
    fn delay_ns(&mut self, ns: u32) {
        // It sleeps on after a signal.
        std::thread::sleep(Duration::from_nanos(ns.into()));
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }
}
