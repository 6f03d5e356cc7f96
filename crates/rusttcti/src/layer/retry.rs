// SPDX-License-Identifier: BSD-2-Clause
//! Sends a command again that the TPM was too busy for:
//! `retry[,times=5][,wait=MS]:CHILD`.
//!
//! A TPM answers `TPM_RC_RETRY`, `TPM_RC_YIELDED` or `TPM_RC_TESTING` if the command is
//! to be sent again. ESYS sends it again at once, up to five times. Programs over SAPI
//! or the bare TCTI must do so themselves. This layer waits before each try, each time
//! twice as long as before, and gives the program the first other response.
//!
//! ```text
//! transmit ──> TPM ──> RETRY ──> pause 20 ms ──> TPM ──> RETRY ──> pause 40 ms ──> ...
//! ```
//!
//! The pause is in `receive`. If the caller's timeout ends first, the call returns
//! TRY_AGAIN, and nothing is lost. Poll handles become readable when the pause is over.
//! A cancel ends it with `TPM_RC_CANCELED`.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::pause::{End, Pause};
use super::response::{ended, failure, put};
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::sys::deadline::Deadline;
use crate::wire::{Header, ResponseCode};
use crate::{Cancel, PollHandle, Result, Tcti};

/// The responses that ask for the command once more.
const AGAIN: [ResponseCode; 3] = [
    ResponseCode::RETRY,
    ResponseCode::YIELDED,
    ResponseCode::TESTING,
];
/// How often a command is sent again at most, by default.
const TIMES: u64 = 5;
/// The default of the first pause, in milliseconds.
const WAIT: u64 = 20;
/// No pause grows beyond this.
const LONGEST: Duration = Duration::from_secs(2);

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "times",
        value: "N",
        default: "5",
        text: "How many times a command is sent again at most, 1 to 1000. After that, the \
               program gets the TPM's last response.",
    },
    Setting {
        key: "wait",
        value: "MS",
        default: "20",
        text: "The pause before a command is sent again for the first time, in milliseconds, 1 to \
               60000. Each further pause is twice as long as the one before, up to 2 seconds.",
    },
];

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let times = options.take_number("times", (1, 1000), TIMES)?;
    let wait = options.take_number("wait", (1, 60_000), WAIT)?;
    let wait = Duration::from_millis(wait);
    Ok(Box::new(move |below| {
        Ok(Box::new(Retry::new(below, times, wait)))
    }))
}

/// A [`Tcti`] that sends a command again if the TPM asks for it.
///
/// ```
/// use std::time::Duration;
///
/// use rusttcti::layer::retry::Retry;
/// use rusttcti::transport::libtpms::Libtpms;
///
/// let tpm = Retry::new(Libtpms::builder().open()?, 5, Duration::from_millis(20));
/// # drop(tpm);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Retry<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    /// How often a command may be sent again.
    times: u64,
    /// The first pause.
    wait: Duration,
    /// The command under way.
    command: Vec<u8>,
    /// How often it may still be sent again.
    left: u64,
    /// The next pause.
    next: Duration,
    pausing: bool,
    pause: Arc<Pause>,
}

impl<T: Tcti> Retry<T> {
    /// Sends a command up to `times` times again, the first time after `wait`.
    /// Each further pause is twice as long, up to 2 seconds.
    pub fn new(inner: T, times: u64, wait: Duration) -> Self {
        Self {
            inner,
            times,
            wait,
            command: Vec::new(),
            left: 0,
            next: wait,
            pausing: false,
            pause: Pause::new(),
        }
    }

    /// Begins a pause if the response asks for the command again.
    fn asks_again(&mut self, response: &[u8]) -> Result<bool> {
        let asks = Header::parse(response)
            .is_some_and(|header| AGAIN.contains(&ResponseCode(header.code)));
        if !asks || self.left == 0 || self.pause.is_cancelled() {
            return Ok(false);
        }
        crate::sys::log::debug!(
            "retry: the TPM asks for the command again in {:?}",
            self.next
        );
        self.pause.begin(Some(self.next))?;
        self.pausing = true;
        self.left -= 1;
        self.next = (self.next * 2).min(LONGEST.max(self.wait));
        Ok(true)
    }

    /// Waits for the end of the pause and sends the command again.
    fn resume(&mut self, deadline: Deadline) -> Result<End> {
        if self.pause.wait(deadline)? == End::Cancelled {
            self.pausing = false;
            return Ok(End::Cancelled);
        }
        self.pausing = false;
        let sent = self.pause.send_again(&mut self.inner, &self.command);
        sent.map_err(|error| ended(error).context("retry: the command cannot be sent again"))
    }
}

impl<T: Tcti> Tcti for Retry<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.pausing = false;
        self.pause.send(&mut self.inner, command)?;
        self.command.clear();
        self.command.extend_from_slice(command);
        self.left = self.times;
        self.next = self.wait;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        loop {
            if self.pausing && self.resume(deadline)? == End::Cancelled {
                return put("retry", &failure(ResponseCode::CANCELED), response);
            }
            let length = self.inner.receive(response, deadline.remaining())?;
            if !self.asks_again(response.get(..length).unwrap_or_default())? {
                return Ok(length);
            }
        }
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    /// Cancels the command below, if that can be done, or ends the pause.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(self.pause.clone())
    }

    /// Returns the handles from below, and one for the pause.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        let mut handles = self.inner.poll_handles()?;
        handles.push(self.pause.poll_handle()?);
        Ok(handles)
    }

    fn after_fork(&mut self) -> Result<()> {
        // The parent's timer is the parent's.
        self.pause = Pause::new();
        self.pausing = false;
        self.inner.after_fork()
    }
}
