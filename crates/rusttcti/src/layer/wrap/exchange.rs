// SPDX-License-Identifier: BSD-2-Clause
//! Runs the engine without I/O. The engine is written as async functions, which send
//! commands and await responses on a [`Channel`]. An [`Exchange`] polls them: it
//! returns each command that is to be sent, and takes the response. There is no
//! thread and no executor behind it.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::crypto::Secret;
use crate::{Error, ErrorKind, Result};

/// The command and the response that pass between the async functions and the caller
/// of the exchange.
#[derive(Default)]
struct Passing {
    command: Option<Outgoing>,
    response: Option<Result<Secret>>,
}

/// A command to send.
pub(super) struct Outgoing {
    pub(super) bytes: Secret,
    /// Whether it is the program's own command, which the program may cancel.
    pub(super) is_programs: bool,
}

/// The engine's side of an exchange: it takes commands and returns their responses.
#[derive(Clone, Default)]
pub(super) struct Channel {
    passing: Arc<Mutex<Passing>>,
    cancelled: Arc<AtomicBool>,
}

impl Channel {
    /// Runs a command of the layer's own, and returns its response.
    ///
    /// # Errors
    /// Those of sending and receiving.
    pub(super) async fn execute(&self, bytes: Secret) -> Result<Secret> {
        let is_programs = false;
        self.exchange(Outgoing { bytes, is_programs }).await
    }

    /// Runs the program's command, and returns its response.
    ///
    /// # Errors
    /// Those of sending and receiving.
    pub(super) async fn execute_for_program(&self, bytes: Secret) -> Result<Secret> {
        let is_programs = true;
        self.exchange(Outgoing { bytes, is_programs }).await
    }

    async fn exchange(&self, command: Outgoing) -> Result<Secret> {
        self.with(|passing| passing.command = Some(command));
        std::future::poll_fn(|_| match self.with(|passing| passing.response.take()) {
            Some(response) => Poll::Ready(response),
            None => Poll::Pending,
        })
        .await
    }

    /// Returns whether the program has cancelled its command.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Passing) -> T) -> T {
        change(&mut self.passing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type EngineFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A command of the program's under way.
pub(super) struct Exchange<T> {
    engine: EngineFuture<T>,
    channel: Channel,
}

/// The next step of an exchange.
pub(super) enum Step<T> {
    /// Send this command, and feed its response.
    Send(Outgoing),
    /// It is over.
    Done(T),
}

impl<T> Exchange<T> {
    pub(super) fn new<F>(begin: impl FnOnce(Channel) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let channel = Channel::default();
        Self {
            engine: Box::pin(begin(channel.clone())),
            channel,
        }
    }

    /// Returns the flag that cancels what has not been sent yet.
    pub(super) fn cancelled(&self) -> Arc<AtomicBool> {
        self.channel.cancelled.clone()
    }

    /// Goes on with a response, or with the failure to get one.
    pub(super) fn feed(&mut self, response: Result<Secret>) -> Step<T> {
        self.channel
            .with(|passing| passing.response = Some(response));
        self.advance()
    }

    /// Runs the engine up to the next command.
    pub(super) fn advance(&mut self) -> Step<T> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match self.engine.as_mut().poll(&mut context) {
                Poll::Ready(done) => return Step::Done(done),
                Poll::Pending => match self.channel.with(|passing| passing.command.take()) {
                    Some(command) => return Step::Send(command),
                    // The engine waits for nothing but responses.
                    None => self.channel.with(|passing| {
                        passing.response = Some(Err(Error::new(
                            ErrorKind::GeneralFailure,
                            "the layer wrap waits for a response, but sent no command",
                        )));
                    }),
                },
            }
        }
    }
}
