// SPDX-License-Identifier: BSD-2-Clause
//! Lets the engine's steps be written one after another. Each waits for a response
//! by `await`, and [`Exchange`] turns that into commands to send and responses to
//! feed. There is no thread, no executor and no I/O behind it.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::crypto::Secret;
use crate::{Error, ErrorKind, Result};

/// The command and the response that pass between the steps and their driver.
#[derive(Default)]
struct Slot {
    command: Option<Outgoing>,
    response: Option<Result<Secret>>,
}

/// A command to send.
pub(super) struct Outgoing {
    pub(super) bytes: Secret,
    /// Whether it is the program's own command, which the program may cancel.
    pub(super) programs: bool,
}

/// The steps' side of an exchange: it takes commands and returns their responses.
#[derive(Clone, Default)]
pub(super) struct Line {
    slot: Arc<Mutex<Slot>>,
    cancelled: Arc<AtomicBool>,
}

impl Line {
    /// Runs a command of the layer's own, and returns its response.
    ///
    /// # Errors
    /// Those of sending and receiving.
    pub(super) async fn run(&self, bytes: Secret) -> Result<Secret> {
        let programs = false;
        self.exchange(Outgoing { bytes, programs }).await
    }

    /// Runs the program's command, and returns its response.
    ///
    /// # Errors
    /// Those of sending and receiving.
    pub(super) async fn run_programs(&self, bytes: Secret) -> Result<Secret> {
        let programs = true;
        self.exchange(Outgoing { bytes, programs }).await
    }

    async fn exchange(&self, command: Outgoing) -> Result<Secret> {
        self.with(|slot| slot.command = Some(command));
        std::future::poll_fn(|_| match self.with(|slot| slot.response.take()) {
            Some(response) => Poll::Ready(response),
            None => Poll::Pending,
        })
        .await
    }

    /// Returns whether the program has cancelled its command.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Slot) -> T) -> T {
        change(&mut self.slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Steps<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A command of the program's under way.
pub(super) struct Exchange<T> {
    steps: Steps<T>,
    line: Line,
}

/// The driver's next step.
pub(super) enum Step<T> {
    /// Send this command, and feed its response.
    Send(Outgoing),
    /// It is over.
    Done(T),
}

impl<T> Exchange<T> {
    pub(super) fn new<F>(begin: impl FnOnce(Line) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let line = Line::default();
        Self {
            steps: Box::pin(begin(line.clone())),
            line,
        }
    }

    /// Returns the flag that cancels what has not been sent yet.
    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        self.line.cancelled.clone()
    }

    /// Goes on with a response, or with the failure to get one.
    pub(super) fn feed(&mut self, response: Result<Secret>) -> Step<T> {
        self.line.with(|slot| slot.response = Some(response));
        self.advance()
    }

    /// Runs the steps up to the next command.
    pub(super) fn advance(&mut self) -> Step<T> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match self.steps.as_mut().poll(&mut context) {
                Poll::Ready(done) => return Step::Done(done),
                Poll::Pending => match self.line.with(|slot| slot.command.take()) {
                    Some(command) => return Step::Send(command),
                    // The steps wait for nothing but responses.
                    None => self.line.with(|slot| {
                        slot.response = Some(Err(Error::new(
                            ErrorKind::GeneralFailure,
                            "the layer wrap waits for a response to no command",
                        )));
                    }),
                },
            }
        }
    }
}
