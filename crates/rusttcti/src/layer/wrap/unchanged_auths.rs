// SPDX-License-Identifier: BSD-2-Clause
//! Checks the authorizations that the TPM gets as the program wrote them: they may hold
//! no password, and the TPM must have the nonces and the audit digest that the program
//! has.

#![forbid(unsafe_code)]

use super::command::Command;
use super::engine::Engine;
use super::failure::unsupported;
use super::program_sessions::{Audited, ProgramSession};
use super::session::attribute;
use super::treatment::Treatment;
use crate::Result;

impl Engine {
    /// Checks that the TPM takes an entry of the program's unchanged: it is no password,
    /// the TPM has the nonce that the program's HMAC covers, and the audit digest that
    /// the program expects.
    pub(super) fn check_unchanged(&self, command: &Command, at: usize) -> Result<()> {
        let auth = &command.auths[at];
        let Some(program_session) = self.program_sessions.get(auth.handle) else {
            return Ok(());
        };
        let authorizes = at < command.shape.authorizations();
        if authorizes && program_session.password && !auth.hmac.is_empty() {
            return Err(unsupported(
                "the password of a policy is not sent in a command without a session of the \
                 layer (use no other sessions with it, and do not skip its command)",
            ));
        }
        let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
        let needs_nonces = !auth.hmac.is_empty() || auth.attributes & ciphers != 0;
        if needs_nonces && program_session.is_out_of_step() {
            return Err(unsupported(LEFT_OUT));
        }
        let audits = auth.attributes & attribute::AUDIT != 0
            && auth.attributes & attribute::AUDIT_RESET == 0;
        if audits && program_session.audited == Audited::ByLayer {
            return Err(unsupported(
                "a session of the program's that encrypted without a key cannot begin to audit \
                 after that (set auditReset, or use another session)",
            ));
        }
        Ok(())
    }
}

/// The reason to refuse a session that was left out of a command.
pub(super) const LEFT_OUT: &str = "a session of the program's that encrypted without a key was \
    left out of a command, and the TPM cannot check its HMAC after that (use another session)";

/// Returns whether the TPM would need the nonce that the program has of a session that
/// was left out: to decrypt with it, or for the HMAC of the program's first session.
pub(super) fn needs_shown_nonce(
    engine: &Engine,
    command: &Command,
    treatments: &[Treatment],
    attributes: u8,
) -> bool {
    let authorizes = command.shape.authorizations() > 0;
    let covered = match treatments.first() {
        Some(Treatment::Unchanged) if authorizes => attribute::DECRYPT | attribute::ENCRYPT,
        _ => attribute::DECRYPT & !attributes,
    };
    command.auths.iter().any(|auth| {
        let session = engine.program_sessions.get(auth.handle);
        auth.attributes & covered != 0 && session.is_some_and(ProgramSession::is_out_of_step)
    })
}

/// Returns whether the first session's HMAC covers the nonce of a session that the
/// layer does not know.
pub(super) fn needs_unknown_nonce(
    engine: &Engine,
    command: &Command,
    treatments: &[Treatment],
) -> bool {
    let answered_for = !matches!(treatments.first(), None | Some(Treatment::Unchanged));
    let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
    let mut others = command.auths.iter().skip(1);
    answered_for
        && others.any(|auth| {
            auth.attributes & ciphers != 0 && engine.program_sessions.get(auth.handle).is_none()
        })
}
