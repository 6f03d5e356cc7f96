// SPDX-License-Identifier: BSD-2-Clause
//! What becomes of an authorization of the program's: a session of the layer's
//! own, one that the layer answers for, or one that only the program can answer
//! for.

#![forbid(unsafe_code)]

use super::command::{Auth, Command, cp_hash};
use super::crypto::{Hash, ParameterCipher, Secret, equal};
use super::engine::{Engine, Flow, Stop, rc, unsupported};
use super::session::{HmacInput, PASSWORD, attribute, without_zeros};
use super::theirs::{Kind, Their};

/// What becomes of an authorization of the program's.
pub(super) enum Slot {
    /// A session of the layer's own: the password that it stands for, or none
    /// where it was added.
    Ours {
        /// Which of the layer's sessions.
        index: usize,
        password: Option<Secret>,
    },
    /// A session of the program's with an empty session key, which the layer can
    /// answer for.
    Keyless(Keyless),
    /// A session of the program's with an empty session key that only encrypts,
    /// which the layer's does in its place: the TPM does not get it.
    LeftOut(Keyless),
    /// A session of the program's that only the program can answer for.
    Rigid,
}

impl Slot {
    /// True where the TPM gets a session for it.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self, Self::LeftOut(_))
    }
}

/// How the layer answers for a session with an empty session key.
pub(super) struct Keyless {
    /// The authValue that the session shows knowledge of, mostly empty.
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
}

impl Keyless {
    /// Its parameter encryption, which anyone can undo.
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
                "a session of the program's encrypts in a way that is not supported",
            ))),
        }
    }
}

/// What becomes of one authorization.
pub(super) fn slot(
    engine: &Engine,
    command: &Command,
    names: &[Vec<u8>],
    at: usize,
    auth: &Auth,
) -> Flow<Slot> {
    let authorizes = at < command.shape.authorizations();
    if auth.handle == PASSWORD {
        // As the TPM would say, which must not be shown the password.
        let number = 0x800 | (at as u32 + 1) << 8;
        if auth.attributes & !attribute::CONTINUE_SESSION != 0 {
            return Err(Stop::Answer(rc::ATTRIBUTES | number));
        }
        if !auth.nonce.is_empty() {
            return Err(Stop::Answer(rc::NONCE | number));
        }
        if !authorizes {
            return Err(Stop::Answer(rc::HANDLE | number));
        }
        return Ok(Slot::Ours {
            index: 0,
            password: Some(without_zeros(&auth.hmac)),
        });
    }
    let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
    let Some(their) = engine.theirs.get(auth.handle) else {
        return Ok(
            match auth.hmac.is_empty() && auth.attributes & ciphers == 0 {
                true => Slot::Keyless(Keyless::silent()),
                false => Slot::Rigid,
            },
        );
    };
    let undone = auth.attributes & ciphers == 0 || their.key_bits.is_some();
    let (Some(hash), true, true) = (their.hash, their.keyless, undone) else {
        return Ok(Slot::Rigid);
    };
    let keyless = Keyless {
        value: Secret::default(),
        has_auth_value: their.kind == Kind::Hmac || their.auth_value,
        hmac_to_tpm: true,
        hmac_to_program: true,
        hash: Some(hash),
        key_bits: their.key_bits,
        nonce_tpm: their.nonce_tpm.clone(),
        shown: their.shown().to_vec(),
    };
    if their.password && authorizes {
        return Ok(Slot::Keyless(Keyless {
            value: without_zeros(&auth.hmac),
            hmac_to_tpm: true,
            hmac_to_program: false,
            ..keyless
        }));
    }
    if auth.hmac.is_empty() {
        return Ok(Slot::Keyless(Keyless {
            hmac_to_tpm: false,
            hmac_to_program: false,
            ..keyless
        }));
    }
    match verifies(engine, command, names, at, auth, their, hash) {
        true => Ok(Slot::Keyless(keyless)),
        false => Ok(Slot::Rigid),
    }
}

impl Keyless {
    /// A session whose HMAC is empty, in both directions.
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
        }
    }
}

/// True where the program's HMAC is one with an empty key.
fn verifies(
    engine: &Engine,
    command: &Command,
    names: &[Vec<u8>],
    at: usize,
    auth: &Auth,
    their: &Their,
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
        nonce_older: their.shown(),
        others: &others,
        attributes: auth.attributes,
    };
    equal(&input.hmac(hash, &[]), &auth.hmac)
}

/// The nonces of the program's decrypt and encrypt sessions, where they are not
/// its first one; `None` where they are not known.
fn program_nonces(engine: &Engine, command: &Command) -> Option<Vec<u8>> {
    let with = |flag: u8| {
        command
            .auths
            .iter()
            .position(|auth| auth.attributes & flag != 0)
            .filter(|at| *at != 0)
    };
    let nonce = |at: usize| {
        let their = engine.theirs.get(command.auths[at].handle)?;
        Some(their.shown().to_vec())
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
