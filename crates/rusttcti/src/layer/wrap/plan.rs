// SPDX-License-Identifier: BSD-2-Clause
//! The plan for a command: which authorizations stay, which become sessions of the
//! layer's own, and what is encrypted.

#![forbid(unsafe_code)]

use super::command::{Auth, Command};
use super::crypto::Hash;
use super::engine::{Engine, LONGEST};
use super::failure::{Flow, unsupported};
use super::program_sessions::{Audited, Kind};
use super::rewrite::Rewritten;
use super::session::attribute;
use super::treatment::{Keyless, Treatment};
use super::unchanged_auths::{LEFT_OUT, needs_shown_nonce, needs_unknown_nonce};
use crate::Result;
use crate::wire::CommandCode;
use crate::wire::header::Header;

/// The plan for the protection of a command.
pub(super) struct Plan {
    pub(super) treatments: Vec<Treatment>,
    /// The number of the treatment whose session protects the command: it encrypts or
    /// audits, as `attributes` say.
    pub(super) protector: usize,
    pub(super) attributes: u8,
    pub(super) names: Vec<Vec<u8>>,
    length: usize,
}

impl Plan {
    /// Makes the plan for a command; `None` if it passes unchanged.
    pub(super) fn of(
        engine: &mut Engine,
        command: &Command,
        rewritten: &Rewritten,
    ) -> Flow<Option<Self>> {
        let names = engine.known_names(command);
        let mut treatments = Vec::new();
        let mut passwords = 0;
        for (at, auth) in command.auths.iter().enumerate() {
            let treatment = Treatment::of(engine, command, &names, at, auth)?;
            if treatment.hides_password() {
                passwords += 1;
            }
            if let Treatment::Unchanged = treatment {
                engine.check_unchanged(command, at)?;
            }
            treatments.push(treatment);
        }
        number_own_sessions(&mut treatments);
        if needs_unknown_nonce(engine, command, &treatments) {
            return Err(unsupported(
                "a session that was not started through the layer encrypts beside a password \
                 (start it through the layer, or use no password)",
            )
            .into());
        }

        let unchanged = treatments
            .iter()
            .any(|treatment| matches!(treatment, Treatment::Unchanged));
        let all = command.auths.iter().map(|auth| auth.attributes);
        let audited = all.fold(0, |all, one| all | one) & attribute::AUDIT != 0;
        let changeable = !unchanged && !audited;
        let mut attributes = attribute::CONTINUE_SESSION;
        if changeable && rewritten.decrypt && !bound_to_parameters(engine, command) {
            attributes |= attribute::DECRYPT;
        }
        if changeable && command.shape.encrypt {
            attributes |= attribute::ENCRYPT;
        }
        if attributes == attribute::CONTINUE_SESSION && !audited {
            attributes |= attribute::AUDIT;
        }
        if needs_shown_nonce(engine, command, &treatments, attributes) {
            return Err(unsupported(LEFT_OUT).into());
        }
        leave_out(&mut treatments, command, attributes);
        let keyed = engine.attributes_of_keyed_sessions(command);
        let Some(protector) = protector(&mut treatments, attributes) else {
            if let Some(attributes) = keyed {
                engine.warn_of_keyed_sessions(attributes, command, rewritten)?;
            } else if audited {
                engine.warn_or_refuse("it has an audit session of the program's own")?;
            } else {
                engine.warn_or_refuse("it has three sessions of the program's own")?;
            }
            return Ok(None);
        };
        let could_encrypt = rewritten.decrypt || command.shape.encrypt;
        if let Some(attributes) = keyed {
            engine.warn_of_keyed_sessions(attributes, command, rewritten)?;
            if passwords == 0 {
                return Ok(None);
            }
        } else if unchanged {
            engine.warn_or_refuse(
                "it has an authorization HMAC of the program's own, so nothing of it can be \
                 encrypted",
            )?;
        } else if audited && could_encrypt {
            engine.warn_or_refuse("it has an audit session of the program's own")?;
        }
        if unchanged && passwords > 0 && changes_auth(command) {
            return Err(unsupported(
                "a new authValue, a password and a session of the program's own in one command \
                 are not supported (use passwords alone)",
            )
            .into());
        }
        carry(engine, &mut treatments, command, rewritten);
        let length = length(&treatments, engine.session_hash(), command, rewritten);
        Ok(Some(Self {
            treatments,
            protector,
            attributes,
            names,
            length,
        }))
    }

    /// Returns how many sessions of the layer's own it takes.
    pub(super) fn sessions(&self) -> usize {
        let is_own = |treatment: &&Treatment| matches!(treatment, Treatment::OwnSession { .. });
        self.treatments.iter().filter(is_own).count()
    }

    /// Returns whether a session of the layer's own stands for a password.
    pub(super) fn has_passwords(&self) -> bool {
        let password = |treatment: &Treatment| {
            matches!(
                treatment,
                Treatment::OwnSession {
                    password: Some(_),
                    ..
                }
            )
        };
        self.treatments.iter().any(password)
    }

    /// Returns the length of the command that is sent.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Returns the handles that the sent command needs, without the layer's own.
    pub(super) fn needed(&self, command: &Command) -> Vec<u32> {
        let auths = self.treatments.iter().zip(&command.auths);
        let sessions = auths
            .filter(|(treatment, _)| {
                matches!(treatment, Treatment::Keyless(_) | Treatment::Unchanged)
            })
            .map(|(_, auth)| auth.handle);
        sessions.chain(command.handles.iter().copied()).collect()
    }

    /// Returns the number that a treatment's session has in the sent command.
    pub(super) fn sent_at(&self, at: usize) -> Option<usize> {
        let sent = |treatment: &&Treatment| treatment.is_sent();
        let treatment = self.treatments.get(at).filter(sent)?;
        let before = self.treatments[..at].iter().filter(sent).count();
        treatment.is_sent().then_some(before)
    }

    /// Returns the treatment of a session in the sent command.
    pub(super) fn position_of(&self, sent: usize) -> Option<usize> {
        (0..self.treatments.len()).find(|at| self.sent_at(*at) == Some(sent))
    }

    /// Returns how many sessions the sent command has.
    pub(super) fn sent(&self) -> usize {
        self.treatments
            .iter()
            .filter(|treatment| treatment.is_sent())
            .count()
    }

    /// Returns whether the layer encrypts the command's first parameter.
    pub(super) fn encrypts_command(&self) -> bool {
        self.attributes & attribute::DECRYPT != 0
    }

    /// Returns whether the response's first parameter is encrypted for the layer.
    pub(super) fn encrypts_response(&self) -> bool {
        self.attributes & attribute::ENCRYPT != 0
    }

    /// Returns the attributes of a treatment's session, as the TPM gets them.
    pub(super) fn attributes_of(&self, at: usize, auth: Option<&Auth>) -> u8 {
        match (&self.treatments[at], auth) {
            (Treatment::OwnSession { .. }, _) if at == self.protector => self.attributes,
            (Treatment::OwnSession { .. }, _) => attribute::CONTINUE_SESSION,
            (Treatment::LeftOut(_), _) => 0,
            (Treatment::Keyless(keyless), Some(auth)) => {
                let taken = self.attributes & (attribute::DECRYPT | attribute::ENCRYPT);
                auth.attributes & !taken | keyless.added
            }
            (_, auth) => auth.map_or(0, |auth| auth.attributes),
        }
    }
}

/// Returns whether the response is authorized by another authValue than the
/// command.
pub(super) fn changes_auth(command: &Command) -> bool {
    matches!(
        command.code,
        CommandCode::HIERARCHY_CHANGE_AUTH
            | CommandCode::NV_CHANGE_AUTH
            | CommandCode::PCR_SET_AUTH_VALUE
    )
}

impl Engine {
    /// Returns the attributes of all salted or bound sessions of the program together;
    /// `None` if there is none.
    fn attributes_of_keyed_sessions(&self, command: &Command) -> Option<u8> {
        let has_key = |auth: &&Auth| {
            let session = self.program_sessions.get(auth.handle);
            session.is_some_and(|session| !session.keyless)
        };
        let keyed = command.auths.iter().filter(has_key);
        keyed
            .map(|auth| auth.attributes)
            .reduce(|all, one| all | one)
    }

    /// Warns of a command that passes as it is, because of a salted or bound session of
    /// the program: nothing can be encrypted beside it.
    ///
    /// # Errors
    /// [`NotPermitted`](crate::ErrorKind::NotPermitted) with `strict=1`, if that
    /// session leaves in the clear what could be encrypted.
    fn warn_of_keyed_sessions(
        &mut self,
        attributes: u8,
        command: &Command,
        rewritten: &Rewritten,
    ) -> Result<()> {
        let plain_command = rewritten.decrypt && attributes & attribute::DECRYPT == 0;
        let plain_response = command.shape.encrypt && attributes & attribute::ENCRYPT == 0;
        if plain_command || plain_response {
            return self.warn_or_refuse(
                "it has a salted or bound session of the program's own that leaves some of it in \
                 the clear",
            );
        }
        self.warn("it has a salted or bound session of the program's own");
        Ok(())
    }
}

/// Leaves out the sessions that would only encrypt what the layer's session
/// encrypts.
fn leave_out(treatments: &mut [Treatment], command: &Command, attributes: u8) {
    let taken = attributes & (attribute::DECRYPT | attribute::ENCRYPT);
    for (at, auth) in command.auths.iter().enumerate() {
        let others = auth.attributes & !(taken | attribute::CONTINUE_SESSION);
        if at < command.shape.authorizations() || others != 0 || auth.attributes & taken == 0 {
            continue;
        }
        if let Some(treatment) = treatments.get_mut(at) {
            *treatment = match std::mem::replace(treatment, Treatment::Unchanged) {
                Treatment::Keyless(keyless) => Treatment::LeftOut(keyless),
                other => other,
            };
        }
    }
}

/// Sends one of the sessions that were left out, as an audit session of the layer's:
/// the TPM takes a session only if it has something to do. So the program gets the
/// TPM's nonce, and a later HMAC of the program's with this session is right for the
/// TPM. The digest of a session with which the program audits must not change, and
/// a policy session cannot audit.
fn carry(engine: &Engine, treatments: &mut [Treatment], command: &Command, rewritten: &Rewritten) {
    // The kernel's resource manager may refuse a StartAuthSession after the TPM ran it,
    // and the new nonces are lost.
    let loses_nonces = command.code == CommandCode::START_AUTH_SESSION;
    let is_sent = |treatment: &&Treatment| treatment.is_sent();
    if loses_nonces || treatments.iter().filter(is_sent).count() == 3 {
        return;
    }
    let length = length(treatments, engine.session_hash(), command, rewritten);
    for (treatment, auth) in treatments.iter_mut().zip(&command.auths) {
        let can_audit = engine
            .program_sessions
            .get(auth.handle)
            .is_some_and(|session| {
                session.kind == Kind::Hmac && session.audited != Audited::ByProgram
            });
        *treatment = match std::mem::replace(treatment, Treatment::Unchanged) {
            Treatment::LeftOut(keyless)
                if can_audit && length + keyless.length(auth) <= LONGEST =>
            {
                let added = attribute::AUDIT;
                *treatment = Treatment::Keyless(Keyless { added, ..keyless });
                return;
            }
            other => other,
        };
    }
}

/// Assigns one of the layer's sessions to each password.
fn number_own_sessions(treatments: &mut [Treatment]) {
    let mut next = 0;
    for treatment in treatments {
        if let Treatment::OwnSession { index, .. } = treatment {
            *index = next;
            next += 1;
        }
    }
}

/// Finds the layer's session that encrypts or audits, or adds one; `None` if there
/// is no room for one.
fn protector(treatments: &mut Vec<Treatment>, attributes: u8) -> Option<usize> {
    let is_own = |treatment: &Treatment| matches!(treatment, Treatment::OwnSession { .. });
    if let Some(at) = treatments.iter().position(is_own) {
        return Some(at);
    }
    let sent = treatments
        .iter()
        .filter(|treatment| treatment.is_sent())
        .count();
    if sent == 3 || attributes == attribute::CONTINUE_SESSION {
        return None;
    }
    treatments.push(Treatment::OwnSession {
        index: 0,
        password: None,
    });
    Some(treatments.len() - 1)
}

/// Returns whether a policy of the command's fixes the digest of its parameters.
fn bound_to_parameters(engine: &Engine, command: &Command) -> bool {
    command
        .auths
        .iter()
        .filter_map(|auth| engine.program_sessions.get(auth.handle))
        .any(|program_session| program_session.kind != Kind::Hmac && program_session.cp_hash)
}

/// Returns the length of the command that is sent.
fn length(treatments: &[Treatment], hash: Hash, command: &Command, rewritten: &Rewritten) -> usize {
    let entries: usize = treatments
        .iter()
        .enumerate()
        .map(|(at, treatment)| match (treatment, command.auths.get(at)) {
            (Treatment::OwnSession { .. }, _) => 9 + 2 * hash.size(),
            (Treatment::Keyless(keyless), Some(auth)) => keyless.length(auth),
            (Treatment::Unchanged, Some(auth)) => 9 + auth.nonce.len() + auth.hmac.len(),
            (Treatment::LeftOut(_), _) | (_, None) => 0,
        })
        .sum();
    Header::SIZE + 4 * command.handles.len() + 4 + entries + rewritten.parameters.len()
}
