// SPDX-License-Identifier: BSD-2-Clause
//! The connection to the TPM, and the engine that protects what passes. This file
//! sends the commands of an exchange and feeds their responses, and flushes the
//! layer's sessions at the end.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::command;
use super::crypto::Secret;
use super::engine::{self, Engine};
use super::exchange::{Exchange, Outgoing, Step};
use super::options::Settings;
use crate::layer::{exit, own_commands};
use crate::sys::deadline::Deadline;
use crate::sys::fork::Generation;
use crate::sys::locks::exclusive::Exclusive;
use crate::sys::locks::{Mutex, MutexGuard};
use crate::wire::CommandCode;
use crate::{Cancel, Error, ErrorKind, Result, Tcti};

/// The engine and the program's response, which an exchange returns.
type Served = (Box<Engine>, Result<Secret>);

/// The state of the layer: the engine is here, or in the exchange of a command under
/// way.
enum State {
    Idle(Box<Engine>),
    Busy(Exchange<Served>),
    /// A panic lost the engine.
    Lost,
}

/// The TCTI below, with the engine that uses it.
pub(super) struct Connection<T: Tcti> {
    pub(super) inner: T,
    state: State,
    /// The response to the program's command, once it is known.
    ready: Option<Secret>,
    /// The buffer for responses, which are wiped here once they are copied.
    buffer: Secret,
    canceller: Arc<Canceller>,
    /// The process that opened it.
    generation: Generation,
}

impl<T: Tcti> Connection<T> {
    pub(super) fn new(inner: T, settings: Settings, canceller: Arc<Canceller>) -> Self {
        Self {
            inner,
            state: State::Idle(Box::new(Engine::new(settings))),
            ready: None,
            buffer: Secret::default(),
            canceller,
            generation: Generation::current(),
        }
    }

    /// Returns whether no command is under way.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_)) && self.ready.is_none()
    }

    /// Begins a command of the program's.
    ///
    /// # Errors
    /// Those of the TCTI below; [`ErrorKind::BadSequence`] while a response is
    /// awaited.
    pub(super) fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.ready = None;
        self.begin(command)
    }

    /// Copies the response to the program's command into `response`.
    ///
    /// # Errors
    /// Those of the TCTI below, and of the engine.
    pub(super) fn receive(
        &mut self,
        response: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<usize> {
        let deadline = Deadline::after(timeout);
        let size = response.len().max(engine::LONGEST);
        let answer = loop {
            if let Some(answer) = self.ready.take() {
                break answer;
            }
            if self.buffer.len() < size {
                self.buffer = Secret::new(vec![0; size]);
            }
            let length = match self.inner.receive(&mut self.buffer, deadline.remaining()) {
                Ok(length) => Ok(length),
                Err(error) if error.kind().leaves_command_pending() => return Err(error),
                Err(error) => Err(error),
            };
            let State::Busy(exchange) = &mut self.state else {
                return Err(Error::new(
                    ErrorKind::BadSequence,
                    "the layer wrap: no response is awaited",
                ));
            };
            let fed = length.and_then(|length| match self.buffer.get_mut(..length) {
                Some(bytes) => {
                    let received = Secret::new(bytes.to_vec());
                    zeroize::Zeroize::zeroize(bytes);
                    Ok(received)
                }
                None => Err(ErrorKind::MalformedResponse.into()),
            });
            let step = exchange.feed(fed);
            self.ready = self.drive(step)?;
        };
        match response.get_mut(..answer.len()) {
            Some(room) => {
                room.copy_from_slice(&answer);
                Ok(answer.len())
            }
            None => Err(Error::new(
                ErrorKind::MalformedResponse,
                format!(
                    "the layer wrap: the response has {} bytes, and there is room for {}",
                    answer.len(),
                    response.len()
                ),
            )),
        }
    }

    /// Runs the exchange until it waits for a response. Returns the program's
    /// response once it is known.
    fn drive(&mut self, mut step: Step<Served>) -> Result<Option<Secret>> {
        loop {
            match step {
                Step::Done((engine, served)) => {
                    self.state = State::Idle(engine);
                    return served.map(Some);
                }
                Step::Send(command) => match self.send(&command) {
                    Ok(()) => return Ok(None),
                    Err(error) => match &mut self.state {
                        State::Busy(exchange) => step = exchange.feed(Err(error)),
                        _ => return Err(error),
                    },
                },
            }
        }
    }

    /// Sends a command. If it is the program's, its canceller is kept. The layer's
    /// own commands are never cancelled: a cancelled program's command is not sent
    /// after them.
    fn send(&mut self, command: &Outgoing) -> Result<()> {
        let mut below = self.canceller.lock();
        *below = None;
        self.inner.transmit(&command.bytes)?;
        if command.is_programs {
            *below = self.inner.canceller();
            if let (Some(below), true) = (&*below, self.canceller.is_cancelled()) {
                below.cancel()?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, command: &[u8]) -> Result<()> {
        let State::Idle(_) = &self.state else {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "the layer wrap: a response is awaited",
            ));
        };
        let State::Idle(mut engine) = std::mem::replace(&mut self.state, State::Lost) else {
            return Err(ErrorKind::GeneralFailure.into());
        };
        let command = Secret::new(command.to_vec());
        let mut exchange = Exchange::new(|channel| async move {
            let served = engine.serve(command, &channel).await;
            (engine, served)
        });
        self.canceller.begin(exchange.cancelled());
        let step = exchange.advance();
        self.state = State::Busy(exchange);
        self.ready = self.drive(step)?;
        Ok(())
    }

    /// Forgets what the TPM has loaded, after a power cycle.
    pub(super) fn forget(&mut self) {
        if let State::Idle(engine) = &mut self.state {
            engine.forget();
        }
    }

    /// Goes on in a forked child. The sessions are the parent's.
    ///
    /// # Errors
    /// Those of the TCTI below.
    pub(super) fn after_fork(&mut self) -> Result<()> {
        self.inner.after_fork()?;
        self.generation = Generation::current();
        self.forget();
        Ok(())
    }

    /// Flushes the layer's sessions by the deadline, unless a response is awaited.
    /// In a forked child it does nothing: the sessions are the parent's.
    pub(super) fn flush_sessions(&mut self, deadline: Deadline) {
        let State::Idle(engine) = &mut self.state else {
            return;
        };
        if !self.generation.is_current() {
            return;
        }
        engine.end_sessions();
        for handle in std::mem::take(&mut engine.ended_sessions) {
            let flush = command::plain(CommandCode::FLUSH_CONTEXT, &handle.to_be_bytes());
            let left = deadline.remaining().unwrap_or(exit::LONGEST);
            if left.is_zero() {
                crate::sys::log::debug!("wrap: no time is left to flush the layer's session");
                return;
            }
            if let Err(error) = own_commands::run("wrap", &mut self.inner, &flush, left) {
                crate::sys::log::debug!("wrap: {}", error.report());
                return;
            }
        }
    }
}

impl<T: Tcti> exit::Loaded for Exclusive<Connection<T>> {
    fn flush(&self, deadline: Deadline) {
        // A command that is under way keeps it.
        if let Some(mut connection) = self.try_lock() {
            connection.flush_sessions(deadline);
        }
    }
}

impl<T: Tcti> Drop for Connection<T> {
    fn drop(&mut self) {
        exit::forget(self.generation);
    }
}

/// Cancels the program's command, also while one of the layer's own is under way.
#[derive(Default)]
pub(super) struct Canceller {
    /// The canceller of the command below.
    below: Mutex<Option<Arc<dyn Cancel>>>,
    /// Set to keep the program's command from being sent.
    flag: Mutex<Arc<AtomicBool>>,
}

impl Canceller {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn Cancel>>> {
        self.below.lock()
    }

    fn is_cancelled(&self) -> bool {
        let flag = self.flag.lock();
        flag.load(Ordering::SeqCst)
    }

    /// Begins another command of the program's.
    fn begin(&self, flag: Arc<AtomicBool>) {
        *self.flag.lock() = flag;
    }
}

impl Cancel for Canceller {
    fn cancel(&self) -> Result<()> {
        let flag = self.flag.lock();
        flag.store(true, Ordering::SeqCst);
        drop(flag);
        match &*self.lock() {
            Some(below) => below.cancel(),
            None => Ok(()),
        }
    }
}
