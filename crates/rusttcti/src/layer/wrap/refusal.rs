// SPDX-License-Identifier: BSD-2-Clause
//! The remedies after the TPM refused a command. It is never sent without its
//! session.

#![forbid(unsafe_code)]

use super::command::Command;
use super::engine::Engine;
use super::exchange::Channel;
use super::failure::{Flow, Stop, is_transient_refusal};
use super::plan::Plan;
use super::treatment::Treatment;
use crate::wire::{Blamed, CommandCode, ResponseCode};
use crate::{Error, ErrorKind};

/// The next step after a failure that the TPM reported.
pub(super) enum Next {
    /// The command is built and sent once more.
    Again,
    /// The program is answered with this response code.
    Answer(ResponseCode),
}

/// The remedies that were tried for a command that the TPM refused.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Whether the Names were read again.
    pub(super) refreshed: bool,
    /// How many times new sessions were made.
    pub(super) renewed: usize,
}

/// How often new sessions are made for one command at most.
const MOST_RENEWALS: usize = 2;

impl Engine {
    /// Returns the next step after the TPM refused a protected command.
    pub(super) async fn refused(
        &mut self,
        code: ResponseCode,
        command: &Command,
        plan: &Plan,
        tries: &mut Tries,
        channel: &Channel,
    ) -> Flow<Next> {
        let full =
            code == ResponseCode::SESSION_MEMORY && command.code == CommandCode::START_AUTH_SESSION;
        if full
            && self
                .move_session_aside(&plan.needed(command), channel)
                .await?
        {
            // It is loaded again when the command is over; the layer's own sessions
            // have ended.
            return Ok(Next::Again);
        }
        let has_own_session = plan.sessions() > 0;
        if code == ResponseCode::AUTH_CONTEXT && has_own_session {
            return Err(self.refusal_of_own_session(code, command));
        }
        let blamed = blamed_session(code);
        let Some(at) = blamed.and_then(|sent_at| plan.position_of(sent_at)) else {
            return Ok(Next::Answer(code));
        };
        // The number that the session has in the program's command.
        let numbered_back = code.blaming(Blamed::Session(at as u8 + 1));
        let authorization = matches!(
            code.base(),
            ResponseCode::AUTH_FAIL | ResponseCode::BAD_AUTH
        );
        match &plan.treatments[at] {
            Treatment::OwnSession { index, password } => {
                let gone = matches!(
                    code.base(),
                    ResponseCode::REFERENCE_S0 | ResponseCode::HANDLE
                );
                if gone && tries.renewed < MOST_RENEWALS {
                    tries.renewed += 1;
                    self.end_sessions();
                    return Ok(Next::Again);
                }
                if authorization && self.mended(*index, command, tries, channel).await? {
                    return Ok(Next::Again);
                }
                match password {
                    Some(_) if !gone => Ok(Next::Answer(numbered_back)),
                    _ => Err(self.refusal_of_own_session(code, command)),
                }
            }
            Treatment::Keyless(_) if authorization && !tries.refreshed => {
                tries.refreshed = true;
                match self.refresh_names(command, channel).await? {
                    true => Ok(Next::Again),
                    false => Ok(Next::Answer(numbered_back)),
                }
            }
            _ => Ok(Next::Answer(numbered_back)),
        }
    }

    /// Looks for a reason of a failed authorization other than a wrong password: a
    /// Name that changed, or a session whose nonces differ in the TPM. Returns
    /// whether one was found and removed.
    async fn mended(
        &mut self,
        index: usize,
        command: &Command,
        tries: &mut Tries,
        channel: &Channel,
    ) -> Flow<bool> {
        if !std::mem::replace(&mut tries.refreshed, true)
            && self.refresh_names(command, channel).await?
        {
            return Ok(true);
        }
        if tries.renewed >= MOST_RENEWALS || self.probe(index, channel).await? {
            return Ok(false);
        }
        tries.renewed += 1;
        self.end_sessions();
        Ok(true)
    }

    fn refusal_of_own_session(&mut self, code: ResponseCode, command: &Command) -> Stop {
        if is_transient_refusal(code) {
            return Stop::Answer(code);
        }
        self.end_sessions();
        Stop::Error(Error::new(
            ErrorKind::IoError,
            format!(
                "the layer wrap: the TPM refuses the layer's session with {name} \
                 (response code {:x}); the command is not sent without it (if this TPM accepts \
                 no session with {name}, add skip={name})",
                code.0,
                name = command.code
            ),
        ))
    }
}

/// Returns the number of the session that a response code blames, from zero.
fn blamed_session(code: ResponseCode) -> Option<usize> {
    match code.blamed() {
        Some(Blamed::Session(number)) => usize::from(number).checked_sub(1),
        _ => None,
    }
}
