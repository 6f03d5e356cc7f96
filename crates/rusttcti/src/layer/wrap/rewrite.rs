// SPDX-License-Identifier: BSD-2-Clause
//! Commands that the layer replaces by others that can be protected better.

#![forbid(unsafe_code)]

use super::command::Command;
use super::crypto::Secret;
use super::engine::Engine;
use super::failure::Flow;
use super::handle_lists;
use super::session::attribute;
use super::treatment::Treatment;
use crate::wire::cursor::Cursor;
use crate::wire::{Blamed, CommandCode, ResponseCode};

/// A command as the TPM gets it, before it is encrypted.
pub(super) struct Rewritten {
    pub(super) code: CommandCode,
    pub(super) parameters: Secret,
    pub(super) decrypt: bool,
}

impl Rewritten {
    /// Returns a response code that blames a parameter with the number that the
    /// parameter has in the program's command.
    pub(super) fn numbered_back(&self, code: ResponseCode) -> ResponseCode {
        match (self.code, code.blamed()) {
            // inData is the last of EncryptDecrypt's parameters.
            (CommandCode::ENCRYPT_DECRYPT2, Some(Blamed::Parameter(1))) => {
                code.blaming(Blamed::Parameter(4))
            }
            (CommandCode::ENCRYPT_DECRYPT2, Some(Blamed::Parameter(number @ 2..=4))) => {
                code.blaming(Blamed::Parameter(number - 1))
            }
            _ => code,
        }
    }
}

impl Engine {
    /// Rewrites a command for the TPM: EncryptDecrypt as EncryptDecrypt2,
    /// PolicyPassword as PolicyAuthValue, and GetCapability with room for the
    /// sessions that will be hidden.
    pub(super) fn rewritten(&mut self, command: &Command) -> Flow<Rewritten> {
        let mut rewritten = Rewritten {
            code: command.code,
            parameters: command.parameters.clone(),
            decrypt: command.shape.decrypt,
        };
        match command.code {
            CommandCode::ENCRYPT_DECRYPT if self.fixes_code(command)? => {
                self.warn_or_refuse(
                    "an HMAC, an audit digest or a policy of the program's covers the code of \
                     TPM2_EncryptDecrypt, whose data cannot be encrypted",
                )?;
            }
            CommandCode::ENCRYPT_DECRYPT => {
                // decrypt, mode and iv, then inData.
                let parameters = &command.parameters;
                let mut reader = Cursor::new(parameters, 0);
                let head = reader.take(3).and_then(|_| reader.sized()).is_some();
                let split = parameters.len() - reader.rest().len();
                if head && reader.sized().is_some() && reader.is_at_end() {
                    let (head, data) = parameters.split_at(split);
                    let mut moved = Secret::new(Vec::with_capacity(parameters.len()));
                    moved.extend_from_slice(data);
                    moved.extend_from_slice(head);
                    rewritten = Rewritten {
                        code: CommandCode::ENCRYPT_DECRYPT2,
                        parameters: moved,
                        decrypt: true,
                    };
                }
            }
            CommandCode::POLICY_PASSWORD => {
                let program_session = command
                    .handles
                    .first()
                    .and_then(|h| self.program_sessions.get(*h));
                if program_session.is_some_and(|program_session| {
                    program_session.keyless && program_session.hash.is_some()
                }) {
                    rewritten.code = CommandCode::POLICY_AUTH_VALUE;
                } else {
                    self.warn_or_refuse(
                        "its policy session is salted or bound, or was not started through the \
                         layer, so its password passes in the clear",
                    )?;
                }
            }
            CommandCode::GET_CAPABILITY => {
                if let Some(parameters) = handle_lists::longer(command) {
                    rewritten.parameters = parameters;
                }
            }
            _ => {}
        }
        Ok(rewritten)
    }

    /// Returns whether an HMAC, an audit digest or a policy of the program's covers the
    /// command's code, so that another command cannot stand for it.
    fn fixes_code(&self, command: &Command) -> Flow<bool> {
        let names = self.known_names(command);
        for (at, auth) in command.auths.iter().enumerate() {
            let is_free = match Treatment::of(self, command, &names, at, auth)? {
                Treatment::OwnSession { .. } => true,
                Treatment::Keyless(_) => {
                    let session = self.program_sessions.get(auth.handle);
                    session.is_some_and(|session| !session.cp_hash)
                        && auth.attributes & attribute::AUDIT == 0
                }
                Treatment::LeftOut(_) | Treatment::Unchanged => false,
            };
            if !is_free {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
