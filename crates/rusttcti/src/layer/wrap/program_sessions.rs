// SPDX-License-Identifier: BSD-2-Clause
//! The program's own sessions, as far as the layer knows them from the commands and
//! responses.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::bytes::Put;
use super::crypto::Hash;
use super::names::HandleType;
use crate::wire::cursor::Cursor;

/// The type of a session (TPM_SE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hmac = 0,
    Policy = 1,
    Trial = 3,
}

impl Kind {
    pub(super) fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Hmac),
            1 => Some(Self::Policy),
            3 => Some(Self::Trial),
            _ => None,
        }
    }
}

/// What the audit digest of a session covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Audited {
    #[default]
    Nothing = 0,
    /// Only commands that the layer sent with the session as an audit session (see
    /// `plan::carry`).
    ByLayer = 1,
    ByProgram = 2,
}

/// A session of the program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramSession {
    pub(super) kind: Kind,
    /// `None` for an algorithm that this layer has not.
    pub(super) hash: Option<Hash>,
    /// The size of its AES keys; `None` if it encrypts otherwise, or not.
    pub(super) key_bits: Option<u16>,
    /// Whether it is neither salted nor bound, so that its session key is empty.
    pub(super) keyless: bool,
    /// The nonce that the TPM has.
    pub(super) nonce_tpm: Vec<u8>,
    /// The program's nonce, if the layer left the session out of a command and
    /// answered for it.
    pub(super) shown: Option<Vec<u8>>,
    /// Whether its policy needs the authValue (TPM2_PolicyAuthValue).
    pub(super) auth_value: bool,
    /// Whether the program sent TPM2_PolicyPassword, and the TPM got
    /// TPM2_PolicyAuthValue. It stays after a use.
    pub(super) password: bool,
    /// Whether its policy is bound to a cpHash, or to the code of a command that the
    /// layer rewrites.
    pub(super) cp_hash: bool,
    pub(super) audited: Audited,
}

/// The end of a session's context that was saved through the layer.
const MAGIC: &[u8; 8] = b"rusttcti";
const VERSION: u8 = 2;

impl ProgramSession {
    /// Returns the nonce that the program has.
    pub(super) fn shown(&self) -> &[u8] {
        self.shown.as_ref().unwrap_or(&self.nonce_tpm)
    }

    /// Returns whether the program has another nonce than the TPM, so that an HMAC of
    /// the program's is wrong for the TPM.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.shown.is_some()
    }

    /// Resets the policy, after TPM2_PolicyRestart.
    pub(super) fn restart(&mut self) {
        (self.auth_value, self.password, self.cp_hash) = (false, false, false);
    }

    /// Notes that it was used in a command: the TPM then resets the policy. A password
    /// may still come, and must not pass.
    pub(super) fn used(&mut self) {
        (self.auth_value, self.cp_hash) = (false, false);
    }

    /// Returns the bytes that are appended to the saved context of this session, so
    /// that another process knows its properties. There is no secret in them.
    pub(super) fn trailer(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.kind as u8];
        bytes.put_u16(self.hash.map_or(0, Hash::id));
        bytes.put_u16(self.key_bits.unwrap_or(0));
        for flag in [self.keyless, self.auth_value, self.password, self.cp_hash] {
            bytes.push(flag.into());
        }
        bytes.push(self.audited as u8);
        bytes.put_sized(&self.nonce_tpm);
        bytes.put_sized(self.shown());
        bytes.put_u16(bytes.len() as u16);
        bytes.extend_from_slice(MAGIC);
        bytes
    }

    /// Splits the bytes of [`trailer`](Self::trailer) from a context's blob.
    pub(super) fn split(blob: &[u8]) -> (&[u8], Option<Self>) {
        Self::found(blob).map_or((blob, None), |(blob, program_session)| {
            (blob, Some(program_session))
        })
    }

    fn found(blob: &[u8]) -> Option<(&[u8], Self)> {
        let (rest, size) = blob.strip_suffix(MAGIC)?.split_last_chunk()?;
        let size = usize::from(u16::from_be_bytes(*size));
        let (blob, mut reader) = (
            rest.get(..rest.len().checked_sub(size)?)?,
            Cursor::new(&rest[rest.len() - size..], 0),
        );
        if reader.u8()? != VERSION {
            return None;
        }
        let kind = Kind::from_id(reader.u8()?)?;
        let hash = Hash::from_id(reader.u16()?);
        let key_bits = Some(reader.u16()?).filter(|bits| *bits != 0);
        let mut flag = || reader.u8().map(|flag| flag != 0);
        let (keyless, auth_value, password, cp_hash) = (flag()?, flag()?, flag()?, flag()?);
        let audited = match reader.u8()? {
            0 => Audited::Nothing,
            1 => Audited::ByLayer,
            2 => Audited::ByProgram,
            _ => return None,
        };
        let nonce_tpm = reader.sized()?.to_vec();
        let shown = Some(reader.sized()?.to_vec()).filter(|shown| *shown != nonce_tpm);
        reader.is_at_end().then_some((
            blob,
            Self {
                kind,
                hash,
                key_bits,
                keyless,
                nonce_tpm,
                shown,
                auth_value,
                password,
                cp_hash,
                audited,
            },
        ))
    }
}

/// The most sessions that are kept: more than a TPM has.
const MOST: usize = 256;

/// The program's sessions by their handles.
#[derive(Debug, Default)]
pub(super) struct ProgramSessions {
    known: HashMap<u32, ProgramSession>,
}

impl ProgramSessions {
    pub(super) fn get(&self, handle: u32) -> Option<&ProgramSession> {
        self.known.get(&handle)
    }

    pub(super) fn get_mut(&mut self, handle: u32) -> Option<&mut ProgramSession> {
        self.known.get_mut(&handle)
    }

    pub(super) fn set(&mut self, handle: u32, program_session: ProgramSession) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(handle, program_session);
    }

    /// Returns whether a session with the number of this handle is known. A TPM has one
    /// session of a number, of either type.
    pub(super) fn has_number_of(&self, handle: u32) -> bool {
        self.known.keys().any(|known| is_same(*known, handle))
    }

    /// Forgets the session with the number of this handle: a TPM may list a policy
    /// session with either type of handle, and programs flush what is listed.
    pub(super) fn forget(&mut self, handle: u32) {
        if HandleType::of(handle) == HandleType::Session {
            self.known.retain(|known, _| !is_same(*known, handle));
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

/// Returns whether two handles of sessions have the same number.
fn is_same(one: u32, other: u32) -> bool {
    one & 0xff_ffff == other & 0xff_ffff
}
