// SPDX-License-Identifier: BSD-2-Clause
//! swtpm's control channel: a big-endian u32 code and its payload, answered by a
//! big-endian u32 result (tpm_ioctl.h, and swtpm_ioctls(3)).
//!
//! Its data channel is [`raw`](super::raw).

#![forbid(unsafe_code)]

use std::ops::Deref;

use super::{Decoded, FrameError};
use crate::wire::cursor::Cursor;

/// The flag of INIT with which volatile state is not resumed
/// (`PTM_INIT_FLAG_DELETE_VOLATILE`).
const DELETE_VOLATILE: u32 = 1;

const INIT: u32 = 2;
const SHUTDOWN: u32 = 3;
const SET_LOCALITY: u32 = 5;
const CANCEL_TPM_CMD: u32 = 9;
const STORE_VOLATILE: u32 = 10;
const STOP: u32 = 14;

/// A client's request on the control channel: those of swtpm's commands that are
/// answered by a result alone.
///
/// ```
/// use rusttcti::wire::frame::{Decoded, swtpm::Control};
///
/// let request = Control::SetLocality(3);
/// assert_eq!(*request.encode(), [0, 0, 0, 5, 3]);
/// assert_eq!(Control::decode(&request.encode()), Ok(Decoded::Message(request, 5)));
/// assert_eq!(request.name(), "SET_LOCALITY");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Starts the TPM, or power-cycles it.
    Init {
        /// Whether volatile state that was stored is deleted, not resumed.
        delete_volatile: bool,
    },
    /// Ends swtpm.
    Shutdown,
    /// Sets the locality of all commands from now on.
    SetLocality(u8),
    /// Cancels the command that runs.
    CancelTpmCommand,
    /// Stores volatile state.
    StoreVolatile,
    /// Takes the TPM's power.
    Stop,
}

/// The bytes of a request.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; 8],
    size: usize,
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.size).unwrap_or_default()
    }
}

impl Control {
    /// Returns the name that swtpm has for it, such as `SET_LOCALITY`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init { .. } => "INIT",
            Self::Shutdown => "SHUTDOWN",
            Self::SetLocality(_) => "SET_LOCALITY",
            Self::CancelTpmCommand => "CANCEL_TPM_CMD",
            Self::StoreVolatile => "STORE_VOLATILE",
            Self::Stop => "STOP",
        }
    }

    /// Returns the bytes that are sent.
    pub fn encode(self) -> Encoded {
        let flags = match self {
            Self::Init {
                delete_volatile: true,
            } => DELETE_VOLATILE,
            _ => 0,
        };
        let flags = flags.to_be_bytes();
        let (code, payload) = match self {
            Self::Init { .. } => (INIT, &flags[..]),
            Self::Shutdown => (SHUTDOWN, &[][..]),
            Self::SetLocality(ref locality) => (SET_LOCALITY, std::slice::from_ref(locality)),
            Self::CancelTpmCommand => (CANCEL_TPM_CMD, &[][..]),
            Self::StoreVolatile => (STORE_VOLATILE, &[][..]),
            Self::Stop => (STOP, &[][..]),
        };
        let size = 4 + payload.len();
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&code.to_be_bytes());
        bytes[4..size].copy_from_slice(payload);
        Encoded { bytes, size }
    }

    /// Decodes the request that begins with these bytes.
    ///
    /// # Errors
    /// [`FrameError::Code`] for a request that is none of these.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, FrameError> {
        let mut cursor = Cursor::new(bytes, 0);
        let request = match cursor.u32() {
            None => return Ok(Decoded::Needs(4)),
            Some(INIT) => match cursor.u32() {
                None => return Ok(Decoded::Needs(8)),
                Some(flags) => Self::Init {
                    delete_volatile: flags & DELETE_VOLATILE != 0,
                },
            },
            Some(SHUTDOWN) => Self::Shutdown,
            Some(SET_LOCALITY) => match cursor.u8() {
                None => return Ok(Decoded::Needs(5)),
                Some(locality) => Self::SetLocality(locality),
            },
            Some(CANCEL_TPM_CMD) => Self::CancelTpmCommand,
            Some(STORE_VOLATILE) => Self::StoreVolatile,
            Some(STOP) => Self::Stop,
            Some(code) => return Err(FrameError::Code(code)),
        };
        Ok(Decoded::Message(request, cursor.offset()))
    }
}

/// How many bytes an answer has.
pub const ANSWER: usize = 4;

/// Returns the bytes of an answer with this result: 0 for success, or a `TPM_RC`.
pub const fn encode_result(result: u32) -> [u8; ANSWER] {
    result.to_be_bytes()
}

/// Decodes an answer.
///
/// # Errors
/// The result, if it is not success.
pub const fn decode_result(answer: [u8; ANSWER]) -> Result<(), u32> {
    match u32::from_be_bytes(answer) {
        0 => Ok(()),
        result => Err(result),
    }
}
