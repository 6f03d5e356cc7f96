// SPDX-License-Identifier: BSD-2-Clause
//! A TIS chip on any bus as a `Tcti`: the common part of `spidev` and `i2c`.
//!
//! The driver is the crate tpm-tis, which reads the chip's status step by step. A
//! receive with a timeout of 0 is one step. The kernel has no event to wait for, so the
//! poll handle is a timer that expires when the next step is due: first after one
//! millisecond, later after at most five.

#![forbid(unsafe_code)]

mod clock;
mod conf;
mod node;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tpm_tis::{Bus, Tis};

use crate::sys::deadline::Deadline;
use crate::sys::fork::Generation;
use crate::sys::locks::Mutex;
use crate::sys::log;
use crate::sys::timer::Timer;
use crate::wire::{Command, CommandCode, DurationClass, Header};
use crate::{Cancel, Error, ErrorKind, PollHandle, Result};
use clock::SystemClock;
pub(super) use conf::{SHARE, path_and_options, share};
pub(super) use node::{Node, Turn, is_no};

/// The size of the largest response.
const MOST: usize = 4096;

/// What a bus fails with.
pub(super) trait BusError: fmt::Debug {
    /// Returns the system's error, if it is one.
    fn errno(&self) -> Option<Errno>;
}

/// A bus that was opened, and the lock that keeps other programs from it.
pub(super) struct Opened<B> {
    pub(super) bus: B,
    pub(super) turn: Turn,
}

/// Opens the bus.
type Open<B> = Box<dyn Fn() -> Result<Opened<B>> + Send>;

/// A chip behind a bus.
pub(super) struct Chip<B> {
    /// The device's path, for messages.
    path: String,
    open: Open<B>,
    /// Which process this belongs to.
    generation: Generation,
    /// None after the device went away, until the next command opens it anew.
    link: Option<Link<B>>,
    locality: u8,
    timer: Option<Timer>,
    /// Whether a command is under way.
    awaited: bool,
    /// The longest pause between two looks for the command's end.
    pause: Duration,
    response: Vec<u8>,
    /// The size of a response that is here and was not taken yet.
    ready: Option<usize>,
}

struct Link<B> {
    tis: Arc<Mutex<Tis<B, SystemClock>>>,
    turn: Turn,
}

impl<B> fmt::Debug for Chip<B> {
    // The response may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chip")
            .field("path", &self.path)
            .field("locality", &self.locality)
            .finish_non_exhaustive()
    }
}

/// Cancels the command that a chip executes.
struct Canceller<B> {
    generation: Generation,
    path: String,
    tis: Arc<Mutex<Tis<B, SystemClock>>>,
}

impl<B> Cancel for Canceller<B>
where
    B: Bus + Send,
    B::Error: BusError,
{
    fn cancel(&self) -> Result<()> {
        self.generation.check()?;
        let cancelled = self.tis.lock().cancel();
        cancelled.map_err(|error| told(&self.path, "cannot cancel the command at", error))
    }
}

impl<B> Chip<B>
where
    B: Bus + Send + 'static,
    B::Error: BusError,
{
    /// Opens the bus, identifies the chip and aborts what it does.
    pub(super) fn open(path: &str, open: Open<B>) -> Result<Self> {
        let mut chip = Self {
            path: path.to_owned(),
            open,
            generation: Generation::current(),
            link: None,
            locality: 0,
            timer: None,
            awaited: false,
            pause: longest_pause(&[]),
            response: Vec::new(),
            ready: None,
        };
        chip.connect()?;
        Ok(chip)
    }

    fn connect(&mut self) -> Result<()> {
        let Opened { bus, mut turn } = (self.open)()?;
        turn.take()?;
        let mut tis = Tis::new(bus, SystemClock::new());
        let result = tis.set_locality(self.locality).and_then(|()| tis.open());
        let result = match result {
            Ok(identity) if turn.is_shared() => tis.release().map(|()| identity),
            result => result,
        };
        let identity = result.map_err(|error| told(&self.path, "cannot use the TPM at", error))?;
        turn.leave();
        log::debug!(
            "{}: vendor 0x{:04x}, device 0x{:04x}, revision 0x{:02x}",
            self.path,
            identity.vendor,
            identity.device,
            identity.revision
        );
        let tis = Arc::new(Mutex::new(tis));
        self.link = Some(Link { tis, turn });
        Ok(())
    }

    pub(super) fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.generation.check()?;
        self.ready = None;
        if self.link.is_none() {
            self.connect()?;
        }
        self.pause = longest_pause(command);
        let link = self.link.as_mut().expect("a link");
        link.turn.take()?;
        let started = link.tis.lock().start(command);
        match started {
            Ok(()) => {
                self.response.resize(MOST, 0);
                self.awaited = true;
                self.arm();
                Ok(())
            }
            Err(error) => Err(self.failed("cannot send a command to the TPM at", error)),
        }
    }

    pub(super) fn receive(
        &mut self,
        response: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<usize> {
        self.generation.check()?;
        if self.ready.is_none() {
            self.wait(Deadline::after(timeout))?;
        }
        let size = self.ready.unwrap_or(0);
        let Some(room) = response.get_mut(..size) else {
            return Err(ErrorKind::InsufficientBuffer.into());
        };
        room.copy_from_slice(&self.response[..size]);
        // It may be a secret.
        self.response[..size].fill(0);
        self.ready = None;
        Ok(size)
    }

    /// Looks for the response until it is there, or the deadline.
    fn wait(&mut self, deadline: Deadline) -> Result<()> {
        loop {
            let Some(link) = &mut self.link else {
                return Err(ErrorKind::NoConnection.into());
            };
            let mut tis = link.tis.lock();
            let looked = tis.step(&mut self.response);
            let pause = tis.interval().min(self.pause);
            drop(tis);
            match looked {
                Ok(Some(size)) => {
                    self.ready = Some(size);
                    self.end();
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => {
                    return Err(self.failed("cannot read the response of the TPM at", error));
                }
            }
            let left = deadline.remaining();
            if left.is_some_and(|left| left.is_zero()) {
                self.arm();
                return Err(ErrorKind::TryAgain.into());
            }
            std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
        }
    }

    /// Releases the chip for other programs, if it is shared.
    fn end(&mut self) {
        self.awaited = false;
        if let Some(timer) = &self.timer {
            timer.set(None);
        }
        let Some(link) = &mut self.link else {
            return;
        };
        if link.turn.is_shared() {
            let released = link.tis.lock().release();
            link.turn.leave();
            if let Err(error) = released {
                // The response is right all the same; the next program claims anew.
                log::debug!("{}: not released: {error}", self.path);
            }
        }
    }

    /// Has the timer go off when it is time to look, if there is one.
    fn arm(&self) {
        if let (Some(timer), Some(link), true) = (&self.timer, &self.link, self.awaited) {
            timer.set(Some(link.tis.lock().interval().min(self.pause)));
        }
    }

    /// Ends a command that failed.
    fn failed(&mut self, doing: &str, error: tpm_tis::Error<B::Error>) -> Error {
        let error = told(&self.path, doing, error);
        if error.kind() == ErrorKind::NoConnection {
            self.link = None;
        }
        self.end();
        error
    }

    pub(super) fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        let link = self.link.as_ref()?;
        Some(Arc::new(Canceller {
            generation: self.generation,
            path: self.path.clone(),
            tis: link.tis.clone(),
        }))
    }

    pub(super) fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.generation.check()?;
        if self.timer.is_none() {
            self.timer = Some(Timer::new()?);
            self.arm();
        }
        Ok(self.timer.iter().map(Timer::poll_handle).collect())
    }

    pub(super) fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.generation.check()?;
        if let Some(link) = &self.link {
            let set = link.tis.lock().set_locality(locality);
            set.map_err(|error| told(&self.path, "cannot set the locality of the TPM at", error))?;
        }
        self.locality = locality;
        Ok(())
    }

    /// Aborts a command under way and releases the locality.
    pub(super) fn finalize(&mut self) -> Result<()> {
        let Some(link) = self.link.take() else {
            return Ok(());
        };
        if !self.generation.is_current() {
            // The parent goes on with it.
            std::mem::forget(link);
            return Ok(());
        }
        let released = link.tis.lock().release();
        released.map_err(|error| told(&self.path, "cannot release the TPM at", error))
    }
}

/// The longest pause between two looks for a command's end, after the time that
/// a TPM takes for it.
fn longest_pause(command: &[u8]) -> Duration {
    let code = Header::parse(command).map(|header| CommandCode(header.code));
    let info = code.and_then(Command::of);
    match info.map(|info| info.duration) {
        Some(DurationClass::Short) => Duration::from_millis(1),
        Some(DurationClass::Medium) => Duration::from_millis(2),
        Some(DurationClass::Long) | None => Duration::from_millis(5),
    }
}

/// An error of the driver as one of ours, with the path in front.
fn told<E: BusError>(path: &str, doing: &str, error: tpm_tis::Error<E>) -> Error {
    use tpm_tis::Error as Tis;
    let kind = match &error {
        Tis::CommandSize { .. } | Tis::Locality(_) => ErrorKind::BadValue,
        Tis::ResponseSize { .. } | Tis::ResponseShort { .. } | Tis::ResponseLong { .. } => {
            ErrorKind::MalformedResponse
        }
        Tis::Bus { error, .. } => match error.errno() {
            Some(Errno::SHUTDOWN | Errno::NODEV) => ErrorKind::NoConnection,
            Some(Errno::PERM | Errno::ACCESS) => ErrorKind::NotPermitted,
            _ => ErrorKind::IoError,
        },
        _ => ErrorKind::IoError,
    };
    let text = match &error {
        Tis::Bus { register, error } => match error.errno() {
            Some(errno) => format!(
                "the bus failed at {}: {}",
                register.name(),
                std::io::Error::from(errno)
            ),
            None => format!("the bus failed at {}: {error:?}", register.name()),
        },
        other => other.to_string(),
    };
    Error::new(kind, format!("{doing} {path}: {text}"))
}

/// The methods of a `Tcti` that is a [`Chip`], its field 0.
macro_rules! is_a_chip {
    ($name:ident) => {
        impl $crate::Tcti for $name {
            fn transmit(&mut self, command: &[u8]) -> $crate::Result<()> {
                self.0.transmit(command)
            }

            fn receive(
                &mut self,
                response: &mut [u8],
                timeout: Option<std::time::Duration>,
            ) -> $crate::Result<usize> {
                self.0.receive(response, timeout)
            }

            fn canceller(&mut self) -> Option<std::sync::Arc<dyn $crate::Cancel>> {
                self.0.canceller()
            }

            fn poll_handles(&mut self) -> $crate::Result<Vec<$crate::PollHandle>> {
                self.0.poll_handles()
            }

            /// 0 to 4: the register space has no others.
            fn set_locality(&mut self, locality: u8) -> $crate::Result<()> {
                self.0.set_locality(locality)
            }

            /// Aborts a command under way, and releases the locality.
            fn finalize(&mut self) -> $crate::Result<()> {
                self.0.finalize()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Err(error) = self.0.finalize() {
                    $crate::sys::log::error!("{}", error.report());
                }
            }
        }
    };
}
pub(super) use is_a_chip;
