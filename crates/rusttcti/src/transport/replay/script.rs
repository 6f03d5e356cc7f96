// SPDX-License-Identifier: BSD-2-Clause
//! Selects the recorded response to each command. It does no I/O.
//!
//! A recording may hold the conversations of several programs, or of several contexts.
//! A context takes the first conversation that has all commands that it has sent so
//! far, with the same responses that it got so far.

#![forbid(unsafe_code)]

use super::{difference, nonces};
use crate::wire::recording::{self, Message};
use crate::wire::{CommandCode, Header};
use crate::{Error, ErrorKind, Result};

/// How a command must agree with the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// Equal in all bytes except the nonces that a program draws, and their HMACs.
    Strict,
    /// Equal in the command code.
    Code,
}

/// A command, and its response, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exchange {
    command: Vec<u8>,
    response: Option<Vec<u8>>,
}

/// A recording, and how far it was replayed.
#[derive(Clone, Debug)]
pub(super) struct Script {
    conversations: Vec<Vec<Exchange>>,
    /// Those that fit so far, in their order.
    candidates: Vec<usize>,
    /// How many commands were answered.
    answered: usize,
    matching: Match,
}

impl Script {
    /// Reads a recording.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] if it is not a recording, or has no command.
    pub(super) fn parse(file: &[u8], matching: Match) -> Result<Self> {
        let mut conversations: Vec<Vec<Exchange>> = Vec::new();
        for message in recording::messages(file)? {
            let wanted = conversations.len().max(message.conversation + 1);
            conversations.resize(wanted, Vec::new());
            add(&mut conversations[message.conversation], message);
        }
        conversations.retain(|conversation| !conversation.is_empty());
        if conversations.is_empty() {
            return Err(Error::new(
                ErrorKind::BadValue,
                "the recording has no command in it",
            ));
        }
        Ok(Self {
            candidates: (0..conversations.len()).collect(),
            conversations,
            answered: 0,
            matching,
        })
    }

    fn exchange(&self, conversation: usize) -> Option<&Exchange> {
        self.conversations[conversation].get(self.answered)
    }

    /// Returns the response to a command; `None` if none was recorded.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a command that differs from the recorded one,
    /// [`ErrorKind::NoConnection`] at the end of the recording. Both leave the
    /// script where it is.
    pub(super) fn answer(&mut self, command: &[u8]) -> Result<Option<Vec<u8>>> {
        let fits = |candidate: &&usize| {
            let exchange = self.exchange(**candidate);
            exchange.is_some_and(|exchange| self.agree(&exchange.command, command))
        };
        let fitting: Vec<usize> = self.candidates.iter().filter(fits).copied().collect();
        let Some(exchange) = fitting.first().and_then(|first| self.exchange(*first)) else {
            return Err(self.no_answer(command));
        };
        let exchange = exchange.clone();
        let mut response = exchange.response.clone();
        if let Some(response) = &mut response {
            let renewed = nonces::renew(&exchange.command, command, response);
            // With `match=code`, the response is returned as it was recorded.
            if let (Err(reason), Match::Strict) = (renewed, self.matching) {
                return Err(Error::new(ErrorKind::NotSupported, reason));
            }
        }
        let alike = |candidate: &usize| {
            let other = self.exchange(*candidate);
            other.is_some_and(|other| answered_alike(&exchange, other))
        };
        self.candidates = fitting.into_iter().filter(alike).collect();
        self.answered += 1;
        Ok(response)
    }

    fn agree(&self, recorded: &[u8], sent: &[u8]) -> bool {
        match self.matching {
            Match::Code => code(recorded) == code(sent),
            Match::Strict => difference::same(
                (recorded, &nonces::of_command(recorded)),
                (sent, &nonces::of_command(sent)),
            ),
        }
    }

    fn no_answer(&self, command: &[u8]) -> Error {
        let number = self.answered + 1;
        let next = self.candidates.iter().find_map(|candidate| {
            let exchange = self.exchange(*candidate)?;
            Some((candidate + 1, exchange))
        });
        match next {
            None => Error::new(
                ErrorKind::NoConnection,
                format!(
                    "the recording ends after {} commands, before this {}",
                    self.answered,
                    code(command)
                ),
            ),
            Some((conversation, exchange)) => Error::new(
                ErrorKind::BadValue,
                format!(
                    "command {number} is not the recorded one (conversation {conversation} of \
                     {}): {}",
                    self.conversations.len(),
                    difference::told(&exchange.command, command)
                ),
            ),
        }
    }
}

/// Adds a message to its conversation. A response without a command is left out.
fn add(conversation: &mut Vec<Exchange>, message: Message) {
    if message.is_command {
        conversation.push(Exchange {
            command: message.bytes,
            response: None,
        });
    } else if let Some(exchange) = conversation.last_mut() {
        exchange.response.get_or_insert(message.bytes);
    }
}

fn answered_alike(one: &Exchange, other: &Exchange) -> bool {
    match (&one.response, &other.response) {
        (Some(response), Some(others)) => difference::same(
            (response, &nonces::of_response(&one.command, response)),
            (others, &nonces::of_response(&other.command, others)),
        ),
        (one, other) => one == other,
    }
}

fn code(command: &[u8]) -> CommandCode {
    CommandCode(Header::parse(command).map_or(0, |header| header.code))
}
