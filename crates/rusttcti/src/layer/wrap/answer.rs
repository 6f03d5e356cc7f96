// SPDX-License-Identifier: BSD-2-Clause
//! Responses: checked, decrypted, and written as the program expects them.

#![forbid(unsafe_code)]

use super::build::Sent;
use super::bytes::first_sized;
use super::command::{Command, Response, ResponseAuth, fits, rp_hash};
use super::crypto::{Direction, Hash, Secret, equal, random};
use super::engine::Engine;
use super::failure::{Flow, forged, malformed};
use super::plan::{Plan, changes_auth};
use super::rewrite::Rewritten;
use super::session::{HmacInput, attribute, without_zeros};
use super::treatment::Treatment;
use crate::Error;
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Handle};

impl Engine {
    /// Checks the response to a protected command, and writes it as the program
    /// expects it.
    pub(super) fn accept(
        &mut self,
        command: &Command,
        rewritten: &Rewritten,
        plan: &Plan,
        sent: &Sent,
        response: &[u8],
    ) -> Flow<Secret> {
        let shape = command.shape;
        let parsed =
            Response::parse(response, shape.code, plan.sent()).ok_or_else(|| malformed(command))?;
        self.check(command, rewritten, plan, sent, &parsed)?;
        self.check_program_sessions(command, rewritten, plan, sent, &parsed)?;

        let mut parameters = Secret::new(parsed.parameters.to_vec());
        if plan.encrypts_response() {
            if let Treatment::OwnSession { index, .. } = &plan.treatments[plan.protector] {
                let auth = self.response_auth(command, plan, sent, plan.protector);
                let data = first_sized(&mut parameters).ok_or_else(|| malformed(command))?;
                self.own_sessions[*index].decrypt(&auth, data)?;
            }
        }
        let answered = answers(command, plan, &parsed)?;
        for (at, (auth, answered)) in command.auths.iter().zip(&answered).enumerate() {
            match &plan.treatments[at] {
                Treatment::OwnSession { .. } => {}
                Treatment::LeftOut(_) => {
                    self.left_out(auth.handle, &answered.nonce, answered.attributes);
                }
                treatment => {
                    self.followed(auth.handle, auth.attributes, &answered.nonce);
                    if matches!(treatment, Treatment::Keyless(keyless) if keyless.added & attribute::AUDIT != 0)
                    {
                        self.carried(auth.handle);
                    }
                }
            }
        }
        let hidden = plan
            .treatments
            .iter()
            .zip(&command.auths)
            .any(|(treatment, auth)| {
                matches!(treatment, Treatment::Unchanged)
                    && auth.attributes & attribute::ENCRYPT != 0
            });
        let plain = Command {
            parameters: match command.code {
                CommandCode::GET_CAPABILITY | CommandCode::ENCRYPT_DECRYPT => {
                    command.parameters.clone()
                }
                _ => sent.parameters.clone(),
            },
            bytes: Secret::default(),
            handles: command.handles.clone(),
            auths: Vec::new(),
            ..*command
        };
        self.took_effect(&plain, parsed.handle, &mut parameters, hidden)?;
        self.answer(command, plan, sent, &parsed, &answered, parameters)
    }

    /// Checks that the TPM made this response, for this command.
    fn check(
        &mut self,
        command: &Command,
        rewritten: &Rewritten,
        plan: &Plan,
        sent: &Sent,
        parsed: &Response<'_>,
    ) -> Flow<()> {
        for (at, treatment) in plan.treatments.iter().enumerate() {
            let (Treatment::OwnSession { index, .. }, Some(sent_at)) =
                (treatment, plan.sent_at(at))
            else {
                continue;
            };
            let answered = parsed.auths[sent_at];
            let auth = self.response_auth(command, plan, sent, at);
            let session = &self.own_sessions[*index];
            let rp_hash = rp_hash(session.hash, rewritten.code, parsed.parameters);
            let (nonce, attributes) = (answered.nonce, answered.attributes);
            let genuine =
                session.is_response_hmac(&auth, &rp_hash, nonce, attributes, answered.hmac);
            if !genuine
                || nonce.len() != session.hash.size()
                || attributes & KEPT != plan.attributes_of(at, None)
            {
                return Err(wrong_hmac(command).into());
            }
        }
        for (at, treatment) in plan.treatments.iter().enumerate() {
            if let (Treatment::OwnSession { index, .. }, Some(sent_at)) =
                (treatment, plan.sent_at(at))
            {
                let answered = parsed.auths[sent_at];
                let session = &mut self.own_sessions[*index];
                session.nonce_tpm = answered.nonce.to_vec();
                (session.in_flight, session.doubtful) = (false, false);
            }
        }
        Ok(())
    }

    /// Checks the program's sessions as far as the layer can, and the handle.
    fn check_program_sessions(
        &self,
        command: &Command,
        rewritten: &Rewritten,
        plan: &Plan,
        sent: &Sent,
        parsed: &Response<'_>,
    ) -> Flow<()> {
        if !parsed.handle.is_none_or(|handle| fits(command, handle)) {
            return Err(malformed(command).into());
        }
        self.check_new_session(command, parsed.handle)?;
        for (at, auth) in command.auths.iter().enumerate() {
            let (Treatment::Keyless(keyless), Some(sent_at)) =
                (&plan.treatments[at], plan.sent_at(at))
            else {
                continue;
            };
            let answered = &parsed.auths[sent_at];
            let asked = plan.attributes_of(at, Some(auth)) & KEPT;
            let genuine = match keyless.hash.filter(|_| keyless.hmac_to_tpm) {
                Some(hash) => {
                    let input = HmacInput {
                        parameters: &rp_hash(hash, rewritten.code, parsed.parameters),
                        nonce_newer: answered.nonce,
                        nonce_older: &auth.nonce,
                        others: &[],
                        attributes: answered.attributes,
                    };
                    let key = self.response_auth(command, plan, sent, at);
                    equal(&input.hmac(hash, &key), answered.hmac)
                }
                None => answered.hmac.is_empty(),
            };
            if !genuine || answered.attributes & KEPT != asked {
                return Err(wrong_hmac(command).into());
            }
        }
        Ok(())
    }

    /// Returns the authValue in the key of a treatment's HMAC in the response. It is
    /// that of the command, except for commands that change it.
    fn response_auth(&self, command: &Command, plan: &Plan, sent: &Sent, at: usize) -> Secret {
        let before = match &plan.treatments[at] {
            Treatment::OwnSession { password, .. } => password.clone().unwrap_or_default(),
            Treatment::Keyless(keyless) | Treatment::LeftOut(keyless) => keyless.value.clone(),
            Treatment::Unchanged => Secret::default(),
        };
        if at >= command.shape.authorizations() {
            return before;
        }
        let first = command.handles.first().copied();
        let has_auth_value = match &plan.treatments[at] {
            // A policy may do without the authValue, the old and the new one.
            Treatment::Keyless(keyless) | Treatment::LeftOut(keyless) => keyless.has_auth_value,
            Treatment::OwnSession { .. } | Treatment::Unchanged => true,
        };
        match command.code {
            _ if changes_auth(command) && has_auth_value => {
                let new = Cursor::new(&sent.parameters, 0).sized();
                new.map_or(before, without_zeros)
            }
            CommandCode::CLEAR if first == Some(Handle::LOCKOUT.0) => Secret::default(),
            CommandCode::NV_UNDEFINE_SPACE_SPECIAL if at == 0 => Secret::default(),
            _ => before,
        }
    }

    /// Writes the response as the program expects it.
    fn answer(
        &self,
        command: &Command,
        plan: &Plan,
        sent: &Sent,
        parsed: &Response<'_>,
        answered: &[Answered],
        mut parameters: Secret,
    ) -> Flow<Secret> {
        for (at, auth) in command.auths.iter().enumerate() {
            let (Treatment::Keyless(keyless) | Treatment::LeftOut(keyless)) = &plan.treatments[at]
            else {
                continue;
            };
            if plan.encrypts_response() && auth.attributes & attribute::ENCRYPT != 0 {
                if let Some(data) = first_sized(&mut parameters) {
                    let cipher = keyless.cipher(&answered[at].nonce, &auth.nonce)?;
                    cipher.apply(Direction::Encrypt, data)?;
                }
            }
        }
        let hmacs: Vec<Secret> = command
            .auths
            .iter()
            .zip(answered)
            .enumerate()
            .map(|(at, (auth, answered))| match &plan.treatments[at] {
                Treatment::Keyless(keyless) | Treatment::LeftOut(keyless)
                    if keyless.hmac_to_program =>
                {
                    match keyless.hash {
                        Some(hash) => HmacInput {
                            parameters: &rp_hash(hash, command.code, &parameters),
                            nonce_newer: &answered.nonce,
                            nonce_older: &auth.nonce,
                            others: &[],
                            attributes: answered.attributes,
                        }
                        .hmac(hash, &self.response_auth(command, plan, sent, at)),
                        None => Secret::default(),
                    }
                }
                Treatment::Unchanged => answered.hmac.clone(),
                _ => Secret::default(),
            })
            .collect();
        let auths: Vec<ResponseAuth<'_>> = answered
            .iter()
            .zip(&hmacs)
            .map(|(answered, hmac)| ResponseAuth {
                nonce: &answered.nonce,
                attributes: answered.attributes,
                hmac,
            })
            .collect();
        Ok(Response::build(
            parsed.handle,
            &parameters,
            command.tagged,
            &auths,
        ))
    }
}

/// The attributes that a TPM returns unchanged.
const KEPT: u8 =
    attribute::CONTINUE_SESSION | attribute::DECRYPT | attribute::ENCRYPT | attribute::AUDIT;

fn wrong_hmac(command: &Command) -> Error {
    forged(&format!(
        "the response to {} was not made by the TPM for this command (its HMAC is \
         wrong)",
        command.code
    ))
}

/// The response's entry for one of the program's authorizations.
struct Answered {
    nonce: Vec<u8>,
    attributes: u8,
    /// The TPM's own HMAC.
    hmac: Secret,
}

/// Returns the response's entries for the program's authorizations, without the
/// HMACs that the layer makes.
fn answers(command: &Command, plan: &Plan, parsed: &Response<'_>) -> Flow<Vec<Answered>> {
    let taken = plan.attributes & (attribute::DECRYPT | attribute::ENCRYPT);
    let mut answers = Vec::new();
    for (at, auth) in command.auths.iter().enumerate() {
        let from_tpm = plan.sent_at(at).and_then(|sent| parsed.auths.get(sent));
        answers.push(match (&plan.treatments[at], from_tpm) {
            // The entry of a password.
            (Treatment::OwnSession { .. }, _) => Answered {
                nonce: Vec::new(),
                attributes: attribute::CONTINUE_SESSION,
                hmac: Secret::default(),
            },
            (Treatment::LeftOut(keyless), _) => Answered {
                nonce: random(keyless.hash.map_or(0, Hash::size))?.to_vec(),
                attributes: auth.attributes,
                hmac: Secret::default(),
            },
            (treatment, Some(answered)) => Answered {
                nonce: answered.nonce.to_vec(),
                // The attributes of which the layer's session took over the work are
                // set again.
                attributes: match treatment {
                    Treatment::Keyless(keyless) => {
                        keyless.without_added(answered.attributes) | auth.attributes & taken
                    }
                    _ => answered.attributes,
                },
                hmac: Secret::new(answered.hmac.to_vec()),
            },
            (_, None) => return Err(malformed(command).into()),
        });
    }
    Ok(answers)
}
