// SPDX-License-Identifier: BSD-2-Clause
//! A salted HMAC session of the layer's own, and the HMACs of all sessions (Part 1,
//! 19.6).

#![forbid(unsafe_code)]

use super::crypto::{Direction, Hash, ParameterCipher, Secret, equal, kdfa, random};
use crate::Result;
use crate::wire::Handle;

/// The bits of a session's attributes (TPMA_SESSION).
pub(super) mod attribute {
    use crate::wire::SessionAttributes;

    pub(crate) const CONTINUE_SESSION: u8 = SessionAttributes::CONTINUE_SESSION.0;
    pub(crate) const DECRYPT: u8 = SessionAttributes::DECRYPT.0;
    pub(crate) const ENCRYPT: u8 = SessionAttributes::ENCRYPT.0;
    pub(crate) const AUDIT_EXCLUSIVE: u8 = SessionAttributes::AUDIT_EXCLUSIVE.0;
    pub(crate) const AUDIT_RESET: u8 = SessionAttributes::AUDIT_RESET.0;
    pub(crate) const AUDIT: u8 = SessionAttributes::AUDIT.0;
}

/// The authorization that stands for a password: TPM_RS_PW.
pub(super) const PASSWORD: u32 = Handle::RS_PW.0;

/// The input of an authorization HMAC.
#[derive(Clone, Copy, Debug)]
pub(super) struct HmacInput<'a> {
    /// The cpHash of a command, the rpHash of a response.
    pub(super) parameters: &'a [u8],
    pub(super) nonce_newer: &'a [u8],
    pub(super) nonce_older: &'a [u8],
    /// The nonces of the decrypt and the encrypt session; only in the HMAC of a
    /// command's first session.
    pub(super) others: &'a [u8],
    pub(super) attributes: u8,
}

impl HmacInput<'_> {
    /// Returns the HMAC with a key: the session key, and the authValue behind it.
    pub(super) fn hmac(&self, hash: Hash, key: &[u8]) -> Secret {
        hash.hmac(
            key,
            &[
                self.parameters,
                self.nonce_newer,
                self.nonce_older,
                self.others,
                &[self.attributes],
            ],
        )
    }
}

/// A session of the layer's own.
pub(super) struct Session {
    pub(super) handle: u32,
    pub(super) hash: Hash,
    key_bits: u16,
    key: Secret,
    pub(super) nonce_tpm: Vec<u8>,
    pub(super) nonce_caller: Vec<u8>,
    /// Whether a command that carries it has no known outcome yet.
    pub(super) in_flight: bool,
    /// Whether the last answer was a failure. No HMAC protects a failure, so the
    /// TPM may have run the command and rolled its nonce.
    pub(super) doubtful: bool,
}

impl Session {
    /// Makes the session of a StartAuthSession from the salt and the two nonces.
    pub(super) fn new(
        handle: u32,
        hash: Hash,
        key_bits: u16,
        salt: &[u8],
        nonce_tpm: &[u8],
        nonce_caller: &[u8],
    ) -> Self {
        let bits = 8 * hash.size() as u32;
        Self {
            handle,
            hash,
            key_bits,
            key: kdfa(hash, salt, "ATH", nonce_tpm, nonce_caller, bits),
            nonce_tpm: nonce_tpm.to_vec(),
            nonce_caller: nonce_caller.to_vec(),
            in_flight: false,
            doubtful: false,
        }
    }

    /// Rolls the caller's nonce for the next command.
    ///
    /// # Errors
    /// Those of the system's random numbers.
    pub(super) fn roll(&mut self) -> Result<()> {
        self.nonce_caller = random(self.hash.size())?.to_vec();
        Ok(())
    }

    /// Encrypts a command's first parameter in place.
    ///
    /// # Errors
    /// Those of the cipher.
    pub(super) fn encrypt(&self, auth: &[u8], data: &mut [u8]) -> Result<()> {
        let (newer, older) = (&self.nonce_caller, &self.nonce_tpm);
        self.cipher(&self.value(auth), newer, older)
            .apply(Direction::Encrypt, data)
    }

    /// Decrypts a response's first parameter in place, after the TPM's nonce was
    /// set to that of the response.
    ///
    /// # Errors
    /// Those of the cipher.
    pub(super) fn decrypt(&self, auth: &[u8], data: &mut [u8]) -> Result<()> {
        let (newer, older) = (&self.nonce_tpm, &self.nonce_caller);
        self.cipher(&self.value(auth), newer, older)
            .apply(Direction::Decrypt, data)
    }

    fn cipher<'a>(
        &self,
        value: &'a [u8],
        nonce_newer: &'a [u8],
        nonce_older: &'a [u8],
    ) -> ParameterCipher<'a> {
        ParameterCipher {
            hash: self.hash,
            key_bits: self.key_bits,
            value,
            nonce_newer,
            nonce_older,
        }
    }

    /// Returns the HMAC of a command. `auth` is the authValue of the entity that
    /// the session authorizes, or empty.
    pub(super) fn command_hmac(
        &self,
        auth: &[u8],
        cp_hash: &[u8],
        others: &[u8],
        attributes: u8,
    ) -> Secret {
        let input = HmacInput {
            parameters: cp_hash,
            nonce_newer: &self.nonce_caller,
            nonce_older: &self.nonce_tpm,
            others,
            attributes,
        };
        input.hmac(self.hash, &self.value(auth))
    }

    /// Returns whether `hmac` is the HMAC of a response with the TPM's new nonce.
    pub(super) fn is_response_hmac(
        &self,
        auth: &[u8],
        rp_hash: &[u8],
        nonce_tpm: &[u8],
        attributes: u8,
        hmac: &[u8],
    ) -> bool {
        let input = HmacInput {
            parameters: rp_hash,
            nonce_newer: nonce_tpm,
            nonce_older: &self.nonce_caller,
            others: &[],
            attributes,
        };
        equal(&input.hmac(self.hash, &self.value(auth)), hmac)
    }

    /// Returns the session key, followed by the authValue.
    fn value(&self, auth: &[u8]) -> Secret {
        let mut value = Secret::new(Vec::with_capacity(self.key.len() + auth.len()));
        value.extend_from_slice(&self.key);
        value.extend_from_slice(auth);
        value
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("handle", &format_args!("{:08x}", self.handle))
            .finish_non_exhaustive()
    }
}

/// Returns an authValue as the TPM stores it: without zeros at its end.
pub(super) fn without_zeros(value: &[u8]) -> Secret {
    let zeros = value.iter().rev().take_while(|byte| **byte == 0).count();
    Secret::new(value[..value.len() - zeros].to_vec())
}
