// SPDX-License-Identifier: BSD-2-Clause
//! The command that is sent, built by its plan: encrypted, with an HMAC for each
//! session.

#![forbid(unsafe_code)]

use super::bytes::{Put, first_sized};
use super::command::{Command, cp_hash};
use super::crypto::{Direction, Secret};
use super::engine::Engine;
use super::failure::Flow;
use super::plan::Plan;
use super::rewrite::Rewritten;
use super::session::{HmacInput, attribute};
use super::treatment::Treatment;
use crate::wire::{CommandCode, Header, tag};

/// The command that is sent, with what the check of its response needs.
pub(super) struct Sent {
    pub(super) bytes: Secret,
    /// The parameters without any encryption, except the program's own if only the
    /// program can decrypt it.
    pub(super) parameters: Secret,
}

impl Plan {
    /// Builds the command. The sessions that it takes must exist.
    pub(super) fn build(
        &self,
        engine: &mut Engine,
        command: &Command,
        rewritten: &Rewritten,
    ) -> Flow<Sent> {
        for session in engine.own_sessions.iter_mut().take(self.sessions()) {
            session.roll()?;
        }
        let mut plain = rewritten.parameters.clone();
        self.decrypt_theirs(command, &mut plain)?;
        let mut parameters = plain.clone();
        if self.encrypts_command() {
            if let (Treatment::OwnSession { index, password }, Some(data)) = (
                &self.treatments[self.protector],
                first_sized(&mut parameters),
            ) {
                let auth = password.as_ref().map_or(&[][..], |auth| auth.as_slice());
                engine.own_sessions[*index].encrypt(auth, data)?;
            }
        }
        let mut area = Secret::new(Vec::with_capacity(self.length()));
        for at in 0..self.treatments.len() {
            self.put_auth(engine, command, rewritten.code, &parameters, at, &mut area);
        }
        let mut bytes = Secret::new(Vec::with_capacity(self.length()));
        let size = Header::SIZE + 4 * command.handles.len() + 4 + area.len() + parameters.len();
        let header = Header {
            tag: tag::SESSIONS,
            size: size as u32,
            code: rewritten.code.0,
        };
        bytes.extend_from_slice(&header.to_bytes());
        for handle in &command.handles {
            bytes.put_u32(*handle);
        }
        bytes.put_u32(area.len() as u32);
        bytes.extend_from_slice(&area);
        bytes.extend_from_slice(&parameters);
        Ok(Sent {
            bytes,
            parameters: plain,
        })
    }

    /// Decrypts a parameter that the program encrypted with a session without a
    /// key.
    fn decrypt_theirs(&self, command: &Command, parameters: &mut Secret) -> Flow<()> {
        if !self.encrypts_command() {
            return Ok(());
        }
        for (treatment, auth) in self.treatments.iter().zip(&command.auths) {
            let (Treatment::Keyless(keyless) | Treatment::LeftOut(keyless)) = treatment else {
                continue;
            };
            if auth.attributes & attribute::DECRYPT != 0 {
                if let Some(data) = first_sized(parameters) {
                    let cipher = keyless.cipher(&auth.nonce, &keyless.shown)?;
                    cipher.apply(Direction::Decrypt, data)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the entry of one treatment.
    fn put_auth(
        &self,
        engine: &Engine,
        command: &Command,
        code: CommandCode,
        parameters: &[u8],
        at: usize,
        area: &mut Secret,
    ) {
        let auth = command.auths.get(at);
        let attributes = self.attributes_of(at, auth);
        // A session that authorizes is never left out, so the first one sent is the
        // first treatment.
        let others = match at {
            0 if command.shape.authorizations() > 0 => self.other_nonces(engine, command),
            _ => Vec::new(),
        };
        let (handle, nonce, hmac) = match (&self.treatments[at], auth) {
            (Treatment::OwnSession { index, password }, _) => {
                let session = &engine.own_sessions[*index];
                let cp_hash = cp_hash(session.hash, code, &self.names, parameters);
                let value = password.as_ref().map_or(&[][..], |auth| auth.as_slice());
                let hmac = session.command_hmac(value, &cp_hash, &others, attributes);
                (session.handle, session.nonce_caller.clone(), hmac)
            }
            (Treatment::Keyless(keyless), Some(auth)) => {
                let hmac = match keyless.hash {
                    Some(hash) if keyless.hmac_to_tpm => {
                        let input = HmacInput {
                            parameters: &cp_hash(hash, code, &self.names, parameters),
                            nonce_newer: &auth.nonce,
                            nonce_older: &keyless.nonce_tpm,
                            others: &others,
                            attributes,
                        };
                        input.hmac(hash, &keyless.value)
                    }
                    _ => Secret::default(),
                };
                (auth.handle, auth.nonce.clone(), hmac)
            }
            (Treatment::Unchanged, Some(auth)) => {
                (auth.handle, auth.nonce.clone(), auth.hmac.clone())
            }
            (Treatment::LeftOut(_), _) | (_, None) => return,
        };
        area.put_u32(handle);
        area.put_sized(&nonce);
        area.push(attributes);
        area.put_sized(&hmac);
    }

    /// Returns the nonces of the decrypt and the encrypt session, unless they are
    /// the first one.
    fn other_nonces(&self, engine: &Engine, command: &Command) -> Vec<u8> {
        let with = |flag: u8| {
            (0..self.treatments.len())
                .find(|at| self.attributes_of(*at, command.auths.get(*at)) & flag != 0)
                .filter(|at| *at != 0)
        };
        let nonce = |at: usize| match &self.treatments[at] {
            Treatment::OwnSession { index, .. } => engine.own_sessions[*index].nonce_tpm.clone(),
            _ => command
                .auths
                .get(at)
                .and_then(|auth| engine.program_sessions.get(auth.handle))
                .map_or_else(Vec::new, |program_session| {
                    program_session.nonce_tpm.clone()
                }),
        };
        let (decrypt, encrypt) = (with(attribute::DECRYPT), with(attribute::ENCRYPT));
        let mut nonces = decrypt.map_or_else(Vec::new, nonce);
        if encrypt != decrypt {
            nonces.extend(encrypt.map_or_else(Vec::new, nonce));
        }
        nonces
    }
}
