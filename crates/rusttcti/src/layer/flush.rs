// SPDX-License-Identifier: BSD-2-Clause
//! Flushes left-over objects and sessions from a TPM without a resource manager:
//! `flush:CHILD`.
//!
//! A program written for /dev/tpmrm0 leaves objects and sessions loaded, and the
//! kernel's resource manager flushes them when the program closes it. This layer does
//! so for a TPM without one: it flushes all transient objects and all loaded sessions
//! when it is closed. It does so when it is opened as well, for those that a program
//! left without closing. Saved contexts stay valid.
//!
//! Use it for a TPM that one program at a time uses: it flushes objects that other
//! programs have loaded as well. Of several contexts in one process, only the first
//! flushes when it is opened, and only the last when it is closed.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::own_commands::wait_for;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::sys::fork::Generation;
use crate::wire::{CapabilityView, CommandBuilder, CommandView, Handle, ResponseView, capability};
use crate::{Result, Tcti};

/// The options: none.
pub(crate) const SETTINGS: &[Setting] = &[];

/// The first handles of the lists of loaded objects: transient objects, and sessions.
const RANGES: [Handle; 2] = [Handle::TRANSIENT_FIRST, Handle::LOADED_SESSION_FIRST];
/// The time limit of one command of the layer's own.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How many are open in this process, with the process's generation: the count of a
/// child begins at 0.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// Parses the options: none.
pub(crate) fn parse(_options: &mut Options) -> Result<OpenLayer> {
    Ok(Box::new(|below| Ok(Box::new(Flush::new(below)?))))
}

/// A [`Tcti`] that leaves no object and no session loaded in the TPM.
///
/// ```
/// use rusttcti::layer::flush::Flush;
/// use rusttcti::transport::libtpms::Libtpms;
///
/// let tpm = Flush::new(Libtpms::builder().open()?)?;
/// # drop(tpm);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Flush<T: Tcti = Box<dyn Tcti>> {
    inner: T,
    /// The generation of the process that opened it.
    generation: Generation,
    /// Whether a response is awaited.
    awaited: bool,
    open: bool,
}

impl<T: Tcti> Flush<T> {
    /// Flushes the loaded objects and sessions, now and when the layer is finalized.
    ///
    /// # Errors
    /// Those of the transport; `inner` is finalized then.
    pub fn new(inner: T) -> Result<Self> {
        let generation = Generation::current();
        let mut layer = Self {
            inner,
            generation,
            awaited: false,
            open: true,
        };
        if count(generation, 1) == 1 {
            if let Err(error) = flush(&mut layer.inner) {
                // The layer is dropped now, and so finalized: it must not flush again.
                layer.awaited = true;
                return Err(error);
            }
        }
        Ok(layer)
    }
}

/// Changes the count of those that are open in this process, and returns it.
fn count(generation: Generation, change: i64) -> u64 {
    let generation = generation.number();
    let counted = |packed: u64| {
        let before = if packed >> 32 == generation & 0xffff_ffff {
            packed & 0xffff_ffff
        } else {
            0
        };
        before.saturating_add_signed(change)
    };
    let pack = |packed| Some(generation << 32 | counted(packed));
    match OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pack) {
        Ok(before) | Err(before) => counted(before),
    }
}

/// Flushes all loaded objects and sessions.
fn flush(tcti: &mut impl Tcti) -> Result<()> {
    for first in RANGES {
        for handle in loaded(tcti, first)? {
            let command = CommandBuilder::flush_context(handle).build();
            let code = run(tcti, &command, |response| Ok(response.code()))?;
            if !code.is_success() {
                crate::sys::log::debug!("flush: handle {handle} stays ({code})");
            }
        }
    }
    Ok(())
}

/// Returns the handles in use from `first` on, up to as many as one response holds;
/// none if the TPM does not answer, as before TPM2_Startup.
fn loaded(tcti: &mut impl Tcti, first: Handle) -> Result<Vec<Handle>> {
    const MANY: u32 = 254;
    let command = CommandBuilder::get_capability(capability::HANDLES, first.0, MANY).build();
    run(tcti, &command, |response| {
        if !response.is_success() {
            return Ok(Vec::new());
        }
        Ok(CapabilityView::parse(response)?.handles().collect())
    })
}

/// Runs a command, and returns the result of `read` on its response.
fn run<R>(
    tcti: &mut impl Tcti,
    command: &[u8],
    read: impl FnOnce(&ResponseView<'_>) -> Result<R>,
) -> Result<R> {
    tcti.transmit(command)?;
    let mut response = [0; 4096];
    let info = CommandView::parse(command)?.info();
    let code = CommandView::parse(command)?.code();
    let length = wait_for("flush", code, COMMAND_TIMEOUT, |time| {
        tcti.receive(&mut response, Some(time))
    })?;
    let malformed = |error: crate::Error| error.context("flush: the TPM's response is malformed");
    let response = response.get(..length).unwrap_or_default();
    let view = ResponseView::parse(response, info).map_err(malformed)?;
    read(&view).map_err(malformed)
}

impl<T: Tcti> Tcti for Flush<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.inner.transmit(command)?;
        self.awaited = true;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let received = self.inner.receive(response, timeout);
        self.awaited = matches!(&received, Err(error) if error.kind().leaves_command_pending());
        received
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    /// Flushes, unless a response is awaited or this is a forked child, whose parent
    /// still uses the TPM.
    fn finalize(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        if self.generation.is_current() && count(self.generation, -1) == 0 && !self.awaited {
            if let Err(error) = flush(&mut self.inner) {
                crate::sys::log::debug!("flush: {}", error.report());
            }
        }
        self.inner.finalize()
    }
}

impl<T: Tcti> Drop for Flush<T> {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::sys::log::debug!("flush: {}", error.report());
        }
    }
}
