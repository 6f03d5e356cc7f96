// SPDX-License-Identifier: BSD-2-Clause
//! Ends a wait for a response that would be too long: `deadline,ms=N:CHILD`.
//!
//! Most programs wait for ever (`receive` with a timeout of -1, as ESYS and
//! tpm2-tools do), and hang if the TPM hangs. With this layer such a wait ends
//! after N milliseconds with an error that says so, and the command is cancelled if
//! the transport can do that. A shorter timeout of the program's own still returns
//! TRY_AGAIN, and the command goes on.
//!
//! The late response to a failed command is thrown away, so it is never taken for the
//! response to the next command. The next `transmit` first waits for the late response,
//! up to N milliseconds, and fails if it does not come.
//!
//! The layer has no effect on a transport that ignores timeouts.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::{Cancel, Error, ErrorKind, Result, Tcti};

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "ms",
    value: "N",
    default: "",
    text: "How long a call waits for a response at most, in milliseconds, 1 to 86400000. It must \
           be given.",
}];

/// A day.
const LONGEST: u64 = 86_400_000;

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    // 0, which is not allowed, stands for a missing number.
    let limit = options.take_number("ms", (1, LONGEST), 0)?;
    if limit == 0 {
        // A misspelt key is reported before the missing one.
        options.finish()?;
        return Err(Error::new(
            ErrorKind::BadValue,
            "the layer deadline needs ms=N, the longest wait in milliseconds (as in ms=30000)",
        ));
    }
    let limit = Duration::from_millis(limit);
    Ok(Box::new(move |below| {
        Ok(Box::new(Deadline::new(below, limit)))
    }))
}

/// A [`Tcti`] that waits for no response longer than its limit.
///
/// ```
/// use std::time::Duration;
///
/// use rusttcti::layer::deadline::Deadline;
/// use rusttcti::transport::libtpms::Libtpms;
///
/// let tpm = Deadline::new(Libtpms::builder().open()?, Duration::from_secs(30));
/// # drop(tpm);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct Deadline<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    limit: Duration,
    /// Cancels the command under way.
    canceller: Option<Arc<dyn Cancel>>,
    /// The buffer for a late response that is to be thrown away.
    late: Option<Vec<u8>>,
}

impl<T: Tcti + std::fmt::Debug> std::fmt::Debug for Deadline<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadline")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<T: Tcti> Deadline<T> {
    /// Waits for each response up to `limit`.
    pub fn new(inner: T, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            canceller: None,
            late: None,
        }
    }

    /// Throws away the late response, if there is one.
    fn settle(&mut self) -> Result<()> {
        let Some(buffer) = &mut self.late else {
            return Ok(());
        };
        match self.inner.receive(buffer, Some(self.limit)) {
            Err(error) if error.kind() == ErrorKind::TryAgain => Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "deadline: the command is not sent, because the TPM is still busy with the \
                     previous one, whose response did not come within {:?} (ms= sets that)",
                    self.limit
                ),
            )),
            // The response came, or never will.
            _ => {
                self.late = None;
                Ok(())
            }
        }
    }

    /// Gives up the command under way.
    fn give_up(&mut self, room: usize) -> Error {
        self.late = Some(vec![0; room]);
        let cancelled = match self.canceller.take() {
            Some(canceller) => match canceller.cancel() {
                Ok(()) => "the command was cancelled".to_owned(),
                Err(error) => format!("the command cannot be cancelled: {}", error.report()),
            },
            None => "the command goes on, because this transport cannot cancel it".to_owned(),
        };
        Error::new(
            ErrorKind::IoError,
            format!(
                "deadline: no response came within {:?} (ms= sets that); {cancelled}",
                self.limit
            ),
        )
    }
}

impl<T: Tcti> Tcti for Deadline<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.settle()?;
        self.inner.transmit(command)?;
        self.canceller = self.inner.canceller();
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let is_ours = timeout.is_none_or(|timeout| timeout > self.limit);
        let wait = if is_ours { Some(self.limit) } else { timeout };
        match self.inner.receive(response, wait) {
            Err(error) if is_ours && error.kind() == ErrorKind::TryAgain => {
                if error.is_interruption() {
                    return Err(error);
                }
                Err(self.give_up(response.len()))
            }
            received => received,
        }
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }
}
