// SPDX-License-Identifier: BSD-2-Clause
//! What the engine reads of a command: its handles and its sessions.

#![forbid(unsafe_code)]

use crate::wire::header::Header;

/// Codes of the commands that the engine treats apart.
pub(super) mod code {
    pub(in super::super) const HIERARCHY_CONTROL: u32 = 0x121;
    pub(in super::super) const CHANGE_EPS: u32 = 0x124;
    pub(in super::super) const CHANGE_PPS: u32 = 0x125;
    pub(in super::super) const CLEAR: u32 = 0x126;
    pub(in super::super) const CREATE_PRIMARY: u32 = 0x131;
    pub(in super::super) const SEQUENCE_COMPLETE: u32 = 0x13e;
    pub(in super::super) const STARTUP: u32 = 0x144;
    pub(in super::super) const SHUTDOWN: u32 = 0x145;
    pub(in super::super) const LOAD: u32 = 0x157;
    pub(in super::super) const HMAC_START: u32 = 0x15b;
    pub(in super::super) const CONTEXT_LOAD: u32 = 0x161;
    pub(in super::super) const CONTEXT_SAVE: u32 = 0x162;
    pub(in super::super) const FLUSH_CONTEXT: u32 = 0x165;
    pub(in super::super) const LOAD_EXTERNAL: u32 = 0x167;
    pub(in super::super) const START_AUTH_SESSION: u32 = 0x176;
    pub(in super::super) const GET_CAPABILITY: u32 = 0x17a;
    pub(in super::super) const EVENT_SEQUENCE_COMPLETE: u32 = 0x185;
    pub(in super::super) const HASH_SEQUENCE_START: u32 = 0x186;
    pub(in super::super) const CREATE_LOADED: u32 = 0x191;
}

/// The structure tag of a command with an authorization area.
pub(super) const WITH_SESSIONS: u16 = 0x8002;
/// The structure tag of a command without one.
pub(super) const NO_SESSIONS: u16 = 0x8001;

/// How many handles a command has; 0 for a code that is not known.
fn handles_of(code: u32) -> usize {
    match code {
        0x149 | 0x14d | 0x184 | 0x192 | 0x195 => 3,
        0x11f | 0x120 | 0x122 | 0x12f | 0x133..=0x138 | 0x147 | 0x148 | 0x14a..=0x14c => 2,
        0x14e..=0x152 | 0x160 | 0x176 | 0x185 | 0x197 => 2,
        0x13e..=0x140 | 0x139..=0x13d | 0x121 | 0x124..=0x12e | 0x130..=0x132 => 1,
        0x153..=0x159 | 0x15b..=0x15e | 0x162..=0x164 | 0x168..=0x174 | 0x177 => 1,
        0x17f | 0x180 | 0x182 | 0x183 | 0x187..=0x189 | 0x18b..=0x18d => 1,
        0x18f..=0x191 | 0x193 | 0x194 | 0x196 | 0x198..=0x19e => 1,
        _ => 0,
    }
}

/// What a command gives a handle to when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Makes {
    Nothing,
    Object,
    Session,
}

/// A command, as far as the engine reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command<'a> {
    bytes: &'a [u8],
    pub(super) code: u32,
    pub(super) tag: u16,
    handles: usize,
}

/// A session in the authorization area of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authorization {
    pub(super) handle: u32,
    /// Whether the session lives on when the command succeeds.
    pub(super) goes_on: bool,
}

impl<'a> Command<'a> {
    /// Reads a command; `None` where it has no whole header.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::parse(bytes)?;
        Some(Self {
            bytes,
            code: header.code,
            tag: header.tag,
            handles: handles_of(header.code),
        })
    }

    /// Returns the handles that are there.
    pub(super) fn handles(self) -> impl Iterator<Item = u32> + 'a {
        let words = self.bytes.get(Header::SIZE..).unwrap_or_default().chunks_exact(4);
        words.take(self.handles).filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
    }

    /// Returns the sessions that are there, in front of what cannot be read.
    pub(super) fn authorizations(self) -> impl Iterator<Item = Authorization> + 'a {
        let start = Header::SIZE + 4 * self.handles;
        let mut rest = match self.tag {
            WITH_SESSIONS => area(self.bytes.get(start..).unwrap_or_default()),
            _ => &[],
        };
        std::iter::from_fn(move || {
            let (authorization, after) = authorization(rest)?;
            rest = after;
            Some(authorization)
        })
    }

    /// Returns the parameters of a command without sessions.
    pub(super) fn parameters(self) -> &'a [u8] {
        match self.tag {
            NO_SESSIONS => self.bytes.get(Header::SIZE + 4 * self.handles..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Returns the first parameter of any command, where it is a u32: behind the
    /// sessions.
    pub(super) fn first_word(self) -> Option<u32> {
        let parameters = self.parameters_behind_sessions()?;
        Some(u32::from_be_bytes(*parameters.first_chunk()?))
    }

    /// Returns the hierarchy that HierarchyControl disables.
    pub(super) fn disables(self) -> Option<u32> {
        const NO: u8 = 0;
        let parameters = self.parameters_behind_sessions()?;
        let is_off = parameters.get(4) == Some(&NO);
        self.first_word().filter(|_| is_off)
    }

    fn parameters_behind_sessions(self) -> Option<&'a [u8]> {
        let start = Header::SIZE + 4 * self.handles;
        let rest = self.bytes.get(start..)?;
        match self.tag {
            WITH_SESSIONS => rest.get(4 + area(rest).len()..),
            _ => Some(rest),
        }
    }

    /// Returns what a success makes.
    pub(super) fn makes(self) -> Makes {
        match self.code {
            code::START_AUTH_SESSION => Makes::Session,
            code::CONTEXT_LOAD if super::own::is_session(self.parameters()) => Makes::Session,
            code::CREATE_PRIMARY
            | code::LOAD
            | code::LOAD_EXTERNAL
            | code::CREATE_LOADED
            | code::HMAC_START
            | code::HASH_SEQUENCE_START
            | code::CONTEXT_LOAD => Makes::Object,
            _ => Makes::Nothing,
        }
    }

    /// Returns which of its handles is flushed by a success.
    pub(super) fn flushes(self) -> Option<usize> {
        match self.code {
            code::SEQUENCE_COMPLETE => Some(0),
            code::EVENT_SEQUENCE_COMPLETE => Some(1),
            _ => None,
        }
    }

    /// Returns whether the object that it makes is a sequence.
    pub(super) fn makes_sequence(self) -> bool {
        match self.code {
            code::HMAC_START | code::HASH_SEQUENCE_START => true,
            code::CONTEXT_LOAD => super::own::is_sequence(self.parameters()),
            _ => false,
        }
    }
}

/// The authorization area behind its size, as far as it is there.
fn area(bytes: &[u8]) -> &[u8] {
    let Some((size, rest)) = bytes.split_first_chunk() else {
        return &[];
    };
    let size = u32::from_be_bytes(*size) as usize;
    &rest[..size.min(rest.len())]
}

/// Reads one session: handle, nonce, attributes, HMAC.
fn authorization(bytes: &[u8]) -> Option<(Authorization, &[u8])> {
    const CONTINUE: u8 = 1;
    let (handle, rest) = bytes.split_first_chunk()?;
    let rest = skip_sized(rest)?;
    let (attributes, rest) = rest.split_first()?;
    let rest = skip_sized(rest)?;
    let authorization = Authorization {
        handle: u32::from_be_bytes(*handle),
        goes_on: attributes & CONTINUE != 0,
    };
    Some((authorization, rest))
}

fn skip_sized(bytes: &[u8]) -> Option<&[u8]> {
    let (size, rest) = bytes.split_first_chunk()?;
    rest.get(u16::from_be_bytes(*size) as usize..)
}
