// SPDX-License-Identifier: BSD-2-Clause
//! How the layer treats each of the program's authorizations: replaced by a session
//! of the layer's own, answered for by the layer, or left as the program wrote it.

#![forbid(unsafe_code)]

use super::command::{Auth, Command, cp_hash};
use super::crypto::{Hash, ParameterCipher, Secret, equal};
use super::engine::Engine;
use super::failure::{Flow, Stop, unsupported};
use super::program_sessions::{Audited, Kind, ProgramSession};
use super::session::{HmacInput, PASSWORD, attribute, without_zeros};
use crate::wire::{Blamed, ResponseCode};

/// The treatment of one of the program's authorizations.
pub(super) enum Treatment {
    /// A session of the layer's own, in the place of a password or added.
    OwnSession {
        /// The number of the layer's session.
        index: usize,
        password: Option<Secret>,
    },
    /// A session of the program's with an empty session key. The layer answers for
    /// it.
    Keyless(Keyless),
    /// A session of the program's with an empty session key that only encrypts. The
    /// layer's session encrypts in its place, and the TPM does not get it.
    LeftOut(Keyless),
    /// A session of the program's that only the program can answer for. It stays
    /// unchanged.
    Unchanged,
}

impl Treatment {
    /// Chooses the treatment of one authorization.
    pub(super) fn of(
        engine: &Engine,
        command: &Command,
        names: &[Vec<u8>],
        at: usize,
        auth: &Auth,
    ) -> Flow<Treatment> {
        let authorizes = at < command.shape.authorizations();
        if auth.handle == PASSWORD {
            // The TPM would answer so, but it must not see the password.
            let refused = |code: ResponseCode| {
                let session = Blamed::Session(at as u8 + 1);
                Err(Stop::Answer(code.blaming(session)))
            };
            if auth.attributes & !attribute::CONTINUE_SESSION != 0 {
                return refused(ResponseCode::ATTRIBUTES);
            }
            if !auth.nonce.is_empty() {
                return refused(ResponseCode::NONCE);
            }
            if !authorizes {
                return refused(ResponseCode::HANDLE);
            }
            return Ok(Treatment::OwnSession {
                index: 0,
                password: Some(without_zeros(&auth.hmac)),
            });
        }
        let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
        let Some(program_session) = engine.program_sessions.get(auth.handle) else {
            return Ok(
                match auth.hmac.is_empty() && auth.attributes & ciphers == 0 {
                    true => Treatment::Keyless(Keyless::silent()),
                    false => Treatment::Unchanged,
                },
            );
        };
        let undone = auth.attributes & ciphers == 0 || program_session.key_bits.is_some();
        let (Some(hash), true, true) = (program_session.hash, program_session.keyless, undone)
        else {
            return Ok(Treatment::Unchanged);
        };
        let keyless = Keyless {
            value: Secret::default(),
            has_auth_value: program_session.kind == Kind::Hmac || program_session.auth_value,
            hmac_to_tpm: true,
            hmac_to_program: true,
            hash: Some(hash),
            key_bits: program_session.key_bits,
            nonce_tpm: program_session.nonce_tpm.clone(),
            shown: program_session.shown().to_vec(),
            // The program's digest begins with this command.
            added: match program_session.audited {
                Audited::ByLayer if auth.attributes & attribute::AUDIT != 0 => {
                    attribute::AUDIT_RESET
                }
                _ => 0,
            },
        };
        let verified = verifies(engine, command, names, at, auth, program_session, hash);
        // After a use the TPM wants no password, and an HMAC of the program's is none.
        if program_session.password && authorizes && !verified {
            return Ok(Treatment::Keyless(Keyless {
                value: without_zeros(&auth.hmac),
                has_auth_value: true,
                hmac_to_tpm: true,
                hmac_to_program: false,
                ..keyless
            }));
        }
        if auth.hmac.is_empty() {
            return Ok(Treatment::Keyless(Keyless {
                hmac_to_tpm: false,
                hmac_to_program: false,
                ..keyless
            }));
        }
        match verified {
            true => Ok(Treatment::Keyless(keyless)),
            false => Ok(Treatment::Unchanged),
        }
    }

    /// Returns whether the program wrote a password where the TPM gets an HMAC with it.
    pub(super) fn hides_password(&self) -> bool {
        match self {
            Self::OwnSession { password, .. } => password.is_some(),
            // A password is the key of the HMAC.
            Self::Keyless(keyless) => !keyless.value.is_empty(),
            Self::LeftOut(_) | Self::Unchanged => false,
        }
    }

    /// Returns whether the TPM gets a session for it.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self, Self::LeftOut(_))
    }
}

/// The layer's data to answer for a session with an empty session key.
pub(super) struct Keyless {
    /// The authValue in the key of its HMAC, mostly empty.
    pub(super) value: Secret,
    /// Whether an authValue is in the HMAC's key: not for a policy without one.
    pub(super) has_auth_value: bool,
    /// Whether the TPM gets an HMAC, or an empty one.
    pub(super) hmac_to_tpm: bool,
    /// Whether the program gets an HMAC, or an empty one.
    pub(super) hmac_to_program: bool,
    pub(super) hash: Option<Hash>,
    pub(super) key_bits: Option<u16>,
    /// The nonce that the TPM has.
    pub(super) nonce_tpm: Vec<u8>,
    /// The nonce that the program has.
    pub(super) shown: Vec<u8>,
    /// The attributes that the layer adds for the TPM, and removes from the response.
    pub(super) added: u8,
}

impl Keyless {
    /// Returns the attributes of a response without those that the layer added.
    pub(super) fn without_added(&self, attributes: u8) -> u8 {
        let audit = match self.added & attribute::AUDIT {
            0 => 0,
            _ => attribute::AUDIT_EXCLUSIVE | attribute::AUDIT_RESET,
        };
        attributes & !(self.added | audit)
    }

    /// Returns the length of its entry in the sent command.
    pub(super) fn length(&self, auth: &Auth) -> usize {
        let hash = self.hash.filter(|_| self.hmac_to_tpm);
        9 + auth.nonce.len() + hash.map_or(0, Hash::size)
    }

    /// Returns its parameter encryption, which anyone can undo.
    pub(super) fn cipher<'a>(
        &'a self,
        nonce_newer: &'a [u8],
        nonce_older: &'a [u8],
    ) -> Flow<ParameterCipher<'a>> {
        match (self.hash, self.key_bits) {
            (Some(hash), Some(key_bits)) => Ok(ParameterCipher {
                hash,
                key_bits,
                value: &self.value,
                nonce_newer,
                nonce_older,
            }),
            _ => Err(Stop::Error(unsupported(
                "a session of the program encrypts in a way that is not supported",
            ))),
        }
    }
}

impl Keyless {
    /// Makes a session whose HMACs are empty in both directions.
    fn silent() -> Self {
        Self {
            value: Secret::default(),
            has_auth_value: false,
            hmac_to_tpm: false,
            hmac_to_program: false,
            hash: None,
            key_bits: None,
            nonce_tpm: Vec::new(),
            shown: Vec::new(),
            added: 0,
        }
    }
}

/// Returns whether the program's HMAC was made with an empty key.
fn verifies(
    engine: &Engine,
    command: &Command,
    names: &[Vec<u8>],
    at: usize,
    auth: &Auth,
    program_session: &ProgramSession,
    hash: Hash,
) -> bool {
    let others = match at {
        0 if command.shape.authorizations() > 0 => program_nonces(engine, command),
        _ => Some(Vec::new()),
    };
    let Some(others) = others else {
        return false;
    };
    let input = HmacInput {
        parameters: &cp_hash(hash, command.code, names, &command.parameters),
        nonce_newer: &auth.nonce,
        nonce_older: program_session.shown(),
        others: &others,
        attributes: auth.attributes,
    };
    equal(&input.hmac(hash, &[]), &auth.hmac)
}

/// Returns the nonces of the program's decrypt and encrypt sessions, unless they
/// are its first one; `None` if they are not known.
fn program_nonces(engine: &Engine, command: &Command) -> Option<Vec<u8>> {
    let with = |flag: u8| {
        command
            .auths
            .iter()
            .position(|auth| auth.attributes & flag != 0)
            .filter(|at| *at != 0)
    };
    let nonce = |at: usize| {
        let program_session = engine.program_sessions.get(command.auths[at].handle)?;
        Some(program_session.shown().to_vec())
    };
    let (decrypt, encrypt) = (with(attribute::DECRYPT), with(attribute::ENCRYPT));
    let mut nonces = match decrypt {
        Some(at) => nonce(at)?,
        None => Vec::new(),
    };
    if encrypt != decrypt {
        if let Some(at) = encrypt {
            nonces.extend(nonce(at)?);
        }
    }
    Some(nonces)
}
