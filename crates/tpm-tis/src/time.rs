// SPDX-License-Identifier: BSD-2-Clause
//! Time: a monotonic clock beside embedded-hal's delay, and the profile's timeouts.

use core::time::Duration;

use embedded_hal::delay::DelayNs;

/// A monotonic clock that can also wait.
///
/// The clock must move on by itself: each wait for the chip ends by it.
pub trait Clock: DelayNs {
    /// Returns the time since a fixed point.
    fn now(&mut self) -> Duration;
}

impl<T: Clock + ?Sized> Clock for &mut T {
    fn now(&mut self) -> Duration {
        (**self).now()
    }
}

/// A [`Clock`] made of a delay and a function that returns the time.
///
/// ```
/// use core::time::Duration;
/// use tpm_tis::{Clock, Timer};
/// # use embedded_hal::delay::DelayNs;
/// # struct Delay;
/// # impl DelayNs for Delay { fn delay_ns(&mut self, _: u32) {} }
/// # fn milliseconds() -> u64 { 7 }
/// let mut timer = Timer::new(Delay, || Duration::from_millis(milliseconds()));
/// assert_eq!(timer.now(), Duration::from_millis(7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timer<D, F> {
    delay: D,
    now: F,
}

impl<D: DelayNs, F: FnMut() -> Duration> Timer<D, F> {
    /// Returns a clock that waits by `delay` and reads the time by `now`.
    pub const fn new(delay: D, now: F) -> Self {
        Self { delay, now }
    }
}

impl<D: DelayNs, F: FnMut() -> Duration> DelayNs for Timer<D, F> {
    fn delay_ns(&mut self, ns: u32) {
        self.delay.delay_ns(ns);
    }
}

impl<D: DelayNs, F: FnMut() -> Duration> Clock for Timer<D, F> {
    fn now(&mut self) -> Duration {
        (self.now)()
    }
}

/// Waits for `time` by any clock.
pub(crate) fn delay(clock: &mut dyn Clock, time: Duration) {
    clock.delay_ns(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
}

/// Returns the time since `begun`; a clock that goes back has stood still.
pub(crate) fn since(clock: &mut dyn Clock, begun: Duration) -> Duration {
    clock.now().saturating_sub(begun)
}

/// The timeouts of a chip: for each step, and for the execution of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TIMEOUT_A: to grant a locality, to raise a burst count of 0, and to
    /// answer on I2C after a NACK.
    pub a: Duration,
    /// TIMEOUT_B: to become ready for a command.
    pub b: Duration,
    /// TIMEOUT_C: to make Expect and dataAvail valid.
    pub c: Duration,
    /// TIMEOUT_D: to end a wait state on SPI, and to show its identity after it was
    /// powered.
    pub d: Duration,
    /// The longest execution of a command.
    pub command: Duration,
}

impl Timeouts {
    /// The values of the PC Client Platform TPM Profile; five minutes for a
    /// command, which no key takes.
    pub const PROFILE: Self = Self {
        a: Duration::from_millis(750),
        b: Duration::from_secs(4),
        c: Duration::from_millis(200),
        d: Duration::from_millis(30),
        command: Duration::from_secs(300),
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::PROFILE
    }
}
