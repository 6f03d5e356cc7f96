// SPDX-License-Identifier: BSD-2-Clause
//! Commands and responses as the layer holds them: in parts, with secrets that are
//! wiped.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::crypto::{Hash, Secret};
use super::names::HandleType;
use crate::wire::cursor::Cursor;
use crate::wire::{self, CommandCode, CommandView, Header, ResponseCode, ResponseView, tag};

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
    /// The command's bytes.
    pub(super) bytes: Secret,
    pub(super) code: CommandCode,
    pub(super) shape: &'static wire::Command,
    pub(super) handles: Vec<u32>,
    /// Whether its tag says that it has an authorization area.
    pub(super) tagged: bool,
    pub(super) auths: Vec<Auth>,
    pub(super) parameters: Secret,
}

impl Command {
    /// Parses a command whose code is in the table; `None` for a malformed one.
    pub(super) fn parse(bytes: &Secret, shape: &'static wire::Command) -> Option<Self> {
        let view = CommandView::parse(bytes).ok()?;
        let auths = view.auths().map(|auth| Auth {
            handle: auth.handle.0,
            nonce: auth.nonce.to_vec(),
            attributes: auth.attributes.0,
            hmac: Secret::new(auth.hmac.to_vec()),
        });
        let auths: Vec<_> = auths.collect();
        if view.has_auths() && !(1..=3).contains(&auths.len()) {
            return None;
        }
        Some(Self {
            bytes: bytes.clone(),
            code: view.code(),
            shape,
            handles: view.handles().map(|view| view.handle.0).collect(),
            tagged: view.has_auths(),
            auths,
            parameters: Secret::new(view.parameters().to_vec()),
        })
    }
}

/// Returns whether a response's handle, which no HMAC covers, has the type that the
/// command makes or loads.
pub(super) fn fits(command: &Command, handle: u32) -> bool {
    let saved = match command.code {
        CommandCode::CONTEXT_LOAD => {
            let mut reader = Cursor::new(&command.parameters, 0);
            reader.take(8).and_then(|_| reader.u32())
        }
        _ => None,
    };
    match saved.map(HandleType::of) {
        // A session keeps its handle.
        Some(HandleType::Session) => saved == Some(handle),
        _ if command.code == CommandCode::START_AUTH_SESSION => {
            HandleType::of(handle) == HandleType::Session
        }
        _ => HandleType::of(handle) == HandleType::Transient,
    }
}

/// Returns the bytes of a command without sessions.
pub(super) fn plain(code: CommandCode, body: &[u8]) -> Secret {
    without_sessions(code.0, body)
}

/// Returns a response with this code and no parameters.
pub(super) fn refusal(code: ResponseCode) -> Secret {
    without_sessions(code.0, &[])
}

/// Returns a successful response without sessions.
pub(super) fn success(body: &[u8]) -> Secret {
    without_sessions(0, body)
}

fn without_sessions(code: u32, body: &[u8]) -> Secret {
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

/// Returns the cpHash of a command (Part 1, 16.7).
pub(super) fn cp_hash(
    hash: Hash,
    code: CommandCode,
    names: &[Vec<u8>],
    parameters: &[u8],
) -> Vec<u8> {
    let code = code.0.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![&code];
    parts.extend(names.iter().map(Vec::as_slice));
    parts.push(parameters);
    hash.digest(&parts)
}

/// Returns the rpHash of a response that succeeded (Part 1, 16.8).
pub(super) fn rp_hash(hash: Hash, code: CommandCode, parameters: &[u8]) -> Vec<u8> {
    hash.digest(&[&[0; 4], &code.0.to_be_bytes(), parameters])
}

/// An entry of a response's authorization area.
#[derive(Clone, Copy)]
pub(super) struct ResponseAuth<'a> {
    pub(super) nonce: &'a [u8],
    pub(super) attributes: u8,
    pub(super) hmac: &'a [u8],
}

/// The parts of a successful response.
pub(super) struct Response<'a> {
    pub(super) handle: Option<u32>,
    pub(super) parameters: &'a [u8],
    pub(super) auths: Vec<ResponseAuth<'a>>,
}

impl<'a> Response<'a> {
    /// Parses the successful response to a command with so many sessions; `None`
    /// for anything else.
    pub(super) fn parse(bytes: &'a [u8], code: CommandCode, sessions: usize) -> Option<Self> {
        let view = ResponseView::parse(bytes, wire::Command::of(code)).ok()?;
        let auths = view.auths().map(|auth| ResponseAuth {
            nonce: auth.nonce,
            attributes: auth.attributes.0,
            hmac: auth.hmac,
        });
        let auths: Vec<_> = auths.collect();
        let has_its_sessions = view.has_auths() == (sessions > 0) && auths.len() == sessions;
        (view.is_success() && has_its_sessions).then(|| Self {
            handle: view.handle().map(|handle| handle.0),
            parameters: view.parameters(),
            auths,
        })
    }

    /// Builds a response for the program.
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
        let mut bytes = success(&body);
        if tagged {
            bytes[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
        }
        bytes
    }
}
