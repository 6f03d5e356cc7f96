// SPDX-License-Identifier: BSD-2-Clause
//! The simulator's platform channel: a big-endian u32 code, answered by u32 0.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::locks::Mutex;
use crate::transport::socket::{Endpoint, Fault, Stream};
use crate::wire::frame::mssim::Signal;
use crate::{Cancel, Error, ErrorKind, Result};

/// How long an answer may take. A peer that takes longer may accept a client on
/// the command channel first, or serve another client.
const UNANSWERED: Duration = Duration::from_millis(500);
/// How long it then has to show that it is of the first kind.
const ACCEPTED: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Platform {
    channel: Mutex<Channel>,
    /// Whether the simulator may cancel what it is sent.
    cancelled: AtomicBool,
}

#[derive(Debug)]
struct Channel {
    endpoint: Endpoint,
    /// `None` before the first use, and after it was lost.
    stream: Option<Stream>,
    /// Whether the context is finalized: no canceller may connect anew.
    closed: bool,
}

impl Platform {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            channel: Mutex::new(Channel {
                endpoint,
                stream: None,
                closed: false,
            }),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Switches on power and NV memory, without which a simulator answers nothing;
    /// more than once does no harm. `commands` is the command channel. Returns a
    /// connection to it, if one was made on the way.
    pub(super) fn power_on(
        &self,
        commands: &mut Endpoint,
        deadline: Deadline,
    ) -> Result<Option<Stream>> {
        let mut channel = self.channel.lock();
        let mut early = None;
        let probe = |platform: &Stream| early = probe_command_channel(commands, platform);
        channel.exchange(Signal::PowerOn, deadline, probe)?;
        channel.exchange(Signal::NvOn, deadline, |_| {})?;
        Ok(early)
    }

    pub(super) fn power_off(&self, deadline: Deadline) -> Result<()> {
        let mut channel = self.channel.lock();
        channel.exchange(Signal::PowerOff, deadline, |_| {})
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Takes a cancel back, so that it does not end the next command.
    pub(super) fn uncancel(&self, deadline: Deadline) -> Result<()> {
        if !self.is_cancelled() {
            return Ok(());
        }
        let mut channel = self.channel.lock();
        channel.exchange(Signal::CancelOff, deadline, |_| {})?;
        self.cancelled.store(false, Ordering::Release);
        Ok(())
    }

    /// Cancels the command under way, if the simulator takes the cancel by the deadline.
    pub(super) fn cancel_by(&self, deadline: Deadline) -> Result<()> {
        let mut channel = self.channel.lock();
        if channel.closed {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the context was finalized",
            ));
        }
        // Set before it is sent: even if sending fails, it must be taken back.
        self.cancelled.store(true, Ordering::Release);
        channel.exchange(Signal::CancelOn, deadline, |_| {})
    }

    pub(super) fn disconnect(&self) {
        let mut channel = self.channel.lock();
        channel.closed = true;
        if let Some(stream) = channel.stream.take() {
            let _ = stream.send(&[], &Signal::SessionEnd.encode(), Deadline::Now);
            stream.end();
        }
    }
}

impl Cancel for Platform {
    fn cancel(&self) -> Result<()> {
        self.cancel_by(Deadline::after(Some(PATIENCE)))
    }
}

/// Connects to the command channel, for a peer that accepts a client there before it
/// answers on the platform channel, `platform`. Without that answer the connection is
/// closed: it would block the queue of a simulator that serves another client.
fn probe_command_channel(commands: &mut Endpoint, platform: &Stream) -> Option<Stream> {
    let soon = |time| Deadline::after(Some(time));
    if platform.readable(soon(UNANSWERED)).is_ok() {
        return None;
    }
    let early = commands.connect(soon(ACCEPTED)).ok()?;
    platform.readable(soon(ACCEPTED)).ok().map(|()| early)
}

impl Channel {
    /// Sends a signal and reads its answer. `sent` is called in between, with the
    /// connection.
    fn exchange(
        &mut self,
        signal: Signal,
        deadline: Deadline,
        mut sent: impl FnMut(&Stream),
    ) -> Result<()> {
        let known = self.stream.take();
        let was_known = known.is_some();
        let stream = self.connection(known, deadline)?;
        match self.ask(&stream, signal, deadline, &mut sent) {
            // The simulator was restarted since.
            Err(error) if was_known && error.kind() == ErrorKind::NoConnection => {
                let stream = self.connection(None, deadline)?;
                self.ask(&stream, signal, deadline, &mut sent)?;
                self.stream = Some(stream);
            }
            asked => {
                asked?;
                self.stream = Some(stream);
            }
        }
        Ok(())
    }

    fn connection(&mut self, known: Option<Stream>, deadline: Deadline) -> Result<Stream> {
        match known {
            Some(stream) => Ok(stream),
            None => {
                let stream = self.endpoint.connect(deadline)?;
                stream.set_nodelay();
                Ok(stream)
            }
        }
    }

    fn ask(
        &self,
        stream: &Stream,
        signal: Signal,
        deadline: Deadline,
        sent: &mut impl FnMut(&Stream),
    ) -> Result<()> {
        let (who, name) = (&self.endpoint, signal.name());
        who.send(stream, &[], &signal.encode(), deadline)?;
        sent(stream);
        let mut answer = [0; 4];
        match stream.recv_whole(&mut answer, deadline) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Error::new(
                    ErrorKind::NoConnection,
                    format!("{who} closed its platform channel without an answer to {name}"),
                ));
            }
            Err(Fault::TimedOut) => {
                return Err(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "{who} did not answer {name} on its platform channel within {} s \
                         (it serves one client at a time)",
                        PATIENCE.as_secs()
                    ),
                ));
            }
            Err(fault) => return Err(fault.error(format!("cannot ask {who} for {name}"))),
        }
        match u32::from_be_bytes(answer) {
            0 => Ok(()),
            result => Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "{who} refused {name} with result 0x{result:x} \
                     (is it swtpm? then its transport is swtpm)"
                ),
            )),
        }
    }
}
