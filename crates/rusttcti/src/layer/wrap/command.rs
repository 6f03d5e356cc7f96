// SPDX-License-Identifier: BSD-2-Clause
//! A command of the program's, taken apart, and responses likewise.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::crypto::{Hash, Secret};
use crate::wire::cursor::Cursor;
use crate::wire::{self, Header, tag};

/// The command codes that the layer has something to say to (TPM_CC).
pub(super) mod cc {
    use crate::wire::CommandCode;

    pub(crate) const NV_UNDEFINE_SPACE_SPECIAL: u32 = CommandCode::NV_UNDEFINE_SPACE_SPECIAL.0;
    pub(crate) const EVICT_CONTROL: u32 = CommandCode::EVICT_CONTROL.0;
    pub(crate) const HIERARCHY_CONTROL: u32 = CommandCode::HIERARCHY_CONTROL.0;
    pub(crate) const NV_UNDEFINE_SPACE: u32 = CommandCode::NV_UNDEFINE_SPACE.0;
    pub(crate) const CHANGE_EPS: u32 = CommandCode::CHANGE_EPS.0;
    pub(crate) const CHANGE_PPS: u32 = CommandCode::CHANGE_PPS.0;
    pub(crate) const CLEAR: u32 = CommandCode::CLEAR.0;
    pub(crate) const HIERARCHY_CHANGE_AUTH: u32 = CommandCode::HIERARCHY_CHANGE_AUTH.0;
    pub(crate) const NV_DEFINE_SPACE: u32 = CommandCode::NV_DEFINE_SPACE.0;
    pub(crate) const CREATE_PRIMARY: u32 = CommandCode::CREATE_PRIMARY.0;
    pub(crate) const NV_GLOBAL_WRITE_LOCK: u32 = CommandCode::NV_GLOBAL_WRITE_LOCK.0;
    pub(crate) const NV_INCREMENT: u32 = CommandCode::NV_INCREMENT.0;
    pub(crate) const NV_SET_BITS: u32 = CommandCode::NV_SET_BITS.0;
    pub(crate) const NV_EXTEND: u32 = CommandCode::NV_EXTEND.0;
    pub(crate) const NV_WRITE: u32 = CommandCode::NV_WRITE.0;
    pub(crate) const NV_WRITE_LOCK: u32 = CommandCode::NV_WRITE_LOCK.0;
    pub(crate) const NV_CHANGE_AUTH: u32 = CommandCode::NV_CHANGE_AUTH.0;
    pub(crate) const SEQUENCE_COMPLETE: u32 = CommandCode::SEQUENCE_COMPLETE.0;
    pub(crate) const STARTUP: u32 = CommandCode::STARTUP.0;
    pub(crate) const NV_READ_LOCK: u32 = CommandCode::NV_READ_LOCK.0;
    pub(crate) const POLICY_SECRET: u32 = CommandCode::POLICY_SECRET.0;
    pub(crate) const LOAD: u32 = CommandCode::LOAD.0;
    pub(crate) const HMAC_START: u32 = CommandCode::HMAC_START.0;
    pub(crate) const POLICY_SIGNED: u32 = CommandCode::POLICY_SIGNED.0;
    pub(crate) const CONTEXT_LOAD: u32 = CommandCode::CONTEXT_LOAD.0;
    pub(crate) const CONTEXT_SAVE: u32 = CommandCode::CONTEXT_SAVE.0;
    pub(crate) const ENCRYPT_DECRYPT: u32 = CommandCode::ENCRYPT_DECRYPT.0;
    pub(crate) const FLUSH_CONTEXT: u32 = CommandCode::FLUSH_CONTEXT.0;
    pub(crate) const LOAD_EXTERNAL: u32 = CommandCode::LOAD_EXTERNAL.0;
    pub(crate) const NV_READ_PUBLIC: u32 = CommandCode::NV_READ_PUBLIC.0;
    pub(crate) const POLICY_AUTH_VALUE: u32 = CommandCode::POLICY_AUTH_VALUE.0;
    pub(crate) const POLICY_CP_HASH: u32 = CommandCode::POLICY_CP_HASH.0;
    pub(crate) const POLICY_TICKET: u32 = CommandCode::POLICY_TICKET.0;
    pub(crate) const READ_PUBLIC: u32 = CommandCode::READ_PUBLIC.0;
    pub(crate) const START_AUTH_SESSION: u32 = CommandCode::START_AUTH_SESSION.0;
    pub(crate) const GET_CAPABILITY: u32 = CommandCode::GET_CAPABILITY.0;
    pub(crate) const GET_RANDOM: u32 = CommandCode::GET_RANDOM.0;
    pub(crate) const POLICY_RESTART: u32 = CommandCode::POLICY_RESTART.0;
    pub(crate) const EVENT_SEQUENCE_COMPLETE: u32 = CommandCode::EVENT_SEQUENCE_COMPLETE.0;
    pub(crate) const HASH_SEQUENCE_START: u32 = CommandCode::HASH_SEQUENCE_START.0;
    pub(crate) const POLICY_PASSWORD: u32 = CommandCode::POLICY_PASSWORD.0;
    pub(crate) const CREATE_LOADED: u32 = CommandCode::CREATE_LOADED.0;
    pub(crate) const PCR_SET_AUTH_VALUE: u32 = CommandCode::PCR_SET_AUTH_VALUE.0;
    pub(crate) const ENCRYPT_DECRYPT_2: u32 = CommandCode::ENCRYPT_DECRYPT2.0;
    pub(crate) const POLICY_PARAMETERS: u32 = CommandCode::POLICY_PARAMETERS.0;
    pub(crate) const NV_DEFINE_SPACE_2: u32 = CommandCode::NV_DEFINE_SPACE2.0;
}

/// An entry of a command's authorization area.
pub(super) struct Auth {
    pub(super) handle: u32,
    pub(super) nonce: Vec<u8>,
    pub(super) attributes: u8,
    /// An HMAC, or a password.
    pub(super) hmac: Secret,
}

/// A command.
pub(super) struct Command {
    /// As it came.
    pub(super) bytes: Secret,
    pub(super) code: u32,
    pub(super) shape: &'static wire::Command,
    pub(super) handles: Vec<u32>,
    /// Whether its tag says that it has an authorization area.
    pub(super) tagged: bool,
    pub(super) auths: Vec<Auth>,
    pub(super) parameters: Secret,
}

impl Command {
    /// Takes a command apart, of which the code is in the table; `None` where
    /// that cannot be done.
    pub(super) fn parse(bytes: &Secret, shape: &'static wire::Command) -> Option<Self> {
        let header = Header::parse(bytes)?;
        if !Header::fits(bytes) {
            return None;
        }
        let tagged = match header.tag {
            tag::SESSIONS => true,
            tag::NO_SESSIONS => false,
            _ => return None,
        };
        let mut reader = Cursor::new(&bytes[Header::SIZE..], 0);
        let mut handles = Vec::new();
        for _ in shape.handles {
            handles.push(reader.u32()?);
        }
        let mut auths = Vec::new();
        if tagged {
            let size = reader.u32()?;
            let mut area = Cursor::new(reader.take(usize::try_from(size).ok()?)?, 0);
            while !area.is_at_end() {
                auths.push(Auth {
                    handle: area.u32()?,
                    nonce: area.sized()?.to_vec(),
                    attributes: area.u8()?,
                    hmac: Secret::new(area.sized()?.to_vec()),
                });
            }
            if auths.is_empty() || auths.len() > 3 {
                return None;
            }
        }
        Some(Self {
            bytes: bytes.clone(),
            code: header.code,
            shape,
            handles,
            tagged,
            auths,
            parameters: Secret::new(reader.rest().to_vec()),
        })
    }
}

/// Returns the bytes of a command without sessions.
pub(super) fn plain(code: u32, body: &[u8]) -> Secret {
    let mut bytes = Secret::new(Vec::with_capacity(Header::SIZE + body.len()));
    let header = Header {
        tag: tag::NO_SESSIONS,
        size: (Header::SIZE + body.len()) as u32,
        code,
    };
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Returns a response that is a response code alone.
pub(super) fn refusal(code: u32) -> Secret {
    plain(code, &[])
}

/// Returns the cpHash of a command (Part 1, 16.7).
pub(super) fn cp_hash(hash: Hash, code: u32, names: &[Vec<u8>], parameters: &[u8]) -> Vec<u8> {
    let code = code.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![&code];
    parts.extend(names.iter().map(Vec::as_slice));
    parts.push(parameters);
    hash.digest(&parts)
}

/// Returns the rpHash of a response that succeeded (Part 1, 16.8).
pub(super) fn rp_hash(hash: Hash, code: u32, parameters: &[u8]) -> Vec<u8> {
    hash.digest(&[&[0; 4], &code.to_be_bytes(), parameters])
}

/// An entry of a response's authorization area.
#[derive(Clone, Copy)]
pub(super) struct ResponseAuth<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) attributes: u8,
    pub(super) hmac: &'a [u8],
}

/// A response that succeeded, taken apart.
pub(super) struct Response<'a> {
    pub(super) handle: Option<u32>,
    pub(super) parameters: &'a [u8],
    pub(super) auths: Vec<ResponseAuth<'a>>,
}

impl<'a> Response<'a> {
    /// Takes the response to a command with so many sessions apart; `None` where
    /// it is not one.
    pub(super) fn parse(bytes: &'a [u8], response_handle: bool, sessions: usize) -> Option<Self> {
        let header = Header::parse(bytes)?;
        let tag = match sessions {
            0 => tag::NO_SESSIONS,
            _ => tag::SESSIONS,
        };
        if !Header::fits(bytes) || header.tag != tag || header.code != 0 {
            return None;
        }
        let mut reader = Cursor::new(&bytes[Header::SIZE..], 0);
        let handle = match response_handle {
            true => Some(reader.u32()?),
            false => None,
        };
        if sessions == 0 {
            return Some(Self {
                handle,
                parameters: reader.rest(),
                auths: Vec::new(),
            });
        }
        let size = reader.u32()?;
        let parameters = reader.take(usize::try_from(size).ok()?)?;
        let mut auths = Vec::new();
        for _ in 0..sessions {
            auths.push(ResponseAuth {
                nonce: reader.sized()?,
                attributes: reader.u8()?,
                hmac: reader.sized()?,
            });
        }
        reader.is_at_end().then_some(Self {
            handle,
            parameters,
            auths,
        })
    }

    /// Puts a response together for the program.
    pub(super) fn build(
        handle: Option<u32>,
        parameters: &[u8],
        tagged: bool,
        auths: &[ResponseAuth<'_>],
    ) -> Secret {
        let room = parameters.len() + 64 + 256 * auths.len();
        let mut body = Secret::new(Vec::with_capacity(room));
        if let Some(handle) = handle {
            body.put_u32(handle);
        }
        if tagged {
            body.put_u32(parameters.len() as u32);
        }
        body.extend_from_slice(parameters);
        for auth in auths {
            body.put_sized(auth.nonce);
            body.push(auth.attributes);
            body.put_sized(auth.hmac);
        }
        let mut bytes = plain(0, &body);
        if tagged {
            bytes[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
        }
        bytes
    }
}
