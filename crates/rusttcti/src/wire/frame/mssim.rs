// SPDX-License-Identifier: BSD-2-Clause
//! The protocol of Microsoft's TPM simulator, and of the TCG's, which comes from
//! it (TcpServer.c). All numbers are big-endian.
//!
//! On the TPM channel, a command is u32 8, u8 locality, u32 size, and its bytes.
//! It is answered by u32 size, the response, and u32 0. On the platform channel,
//! a signal is a u32 code, answered by u32 0. Either channel ends with u32 20,
//! which is not answered.

#![forbid(unsafe_code)]

use super::{Decoded, FrameError};
use crate::wire::Header;
use crate::wire::cursor::Cursor;

/// The code in front of a command (`TPM_SEND_COMMAND`).
const SEND_COMMAND: u32 = 8;
/// The code that ends a channel (`TPM_SESSION_END`).
const SESSION_END: u32 = 20;
/// The code that ends the simulator (`TPM_STOP`).
const STOP: u32 = 21;

/// How many bytes stand in front of a command's.
pub const COMMAND_HEAD: usize = 9;
/// How many bytes stand in front of a response's.
pub const RESPONSE_HEAD: usize = 4;
/// The bytes that follow a response, and that answer a signal.
pub const DONE: [u8; 4] = [0; 4];

/// A client's request on the TPM channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<'a> {
    /// A command.
    SendCommand {
        /// The locality that it is run in.
        locality: u8,
        /// Its bytes, of any number: it is the TPM that looks at them.
        command: &'a [u8],
    },
    /// The end of the connection.
    SessionEnd,
    /// The end of the simulator.
    Stop,
}

impl<'a> Request<'a> {
    /// Decodes the request that begins with these bytes.
    ///
    /// # Errors
    /// [`FrameError::Code`] for a request that is none of these, and
    /// [`FrameError::Size`] for a command of more than `largest` bytes.
    pub fn decode(bytes: &'a [u8], largest: usize) -> Result<Decoded<Self>, FrameError> {
        let mut cursor = Cursor::new(bytes, 0);
        match cursor.u32() {
            None => return Ok(Decoded::Needs(4)),
            Some(SEND_COMMAND) => {}
            Some(SESSION_END) => return Ok(Decoded::Message(Self::SessionEnd, 4)),
            Some(STOP) => return Ok(Decoded::Message(Self::Stop, 4)),
            Some(code) => return Err(FrameError::Code(code)),
        }
        let (Some(locality), Some(size)) = (cursor.u8(), cursor.u32()) else {
            return Ok(Decoded::Needs(COMMAND_HEAD));
        };
        let size = FrameError::check(size as usize, 0, largest)?;
        Ok(match cursor.take(size) {
            Some(command) => {
                let message = Self::SendCommand { locality, command };
                Decoded::Message(message, cursor.offset())
            }
            None => Decoded::Needs(COMMAND_HEAD + size),
        })
    }
}

/// Returns what stands in front of a command's bytes.
///
/// ```
/// use rusttcti::wire::frame::mssim;
///
/// assert_eq!(mssim::command_head(3, 12), [0, 0, 0, 8, 3, 0, 0, 0, 12]);
/// ```
pub fn command_head(locality: u8, size: u32) -> [u8; COMMAND_HEAD] {
    let mut head = [0; COMMAND_HEAD];
    head[..4].copy_from_slice(&SEND_COMMAND.to_be_bytes());
    head[4] = locality;
    head[5..].copy_from_slice(&size.to_be_bytes());
    head
}

/// Returns what stands in front of a response's bytes. [`DONE`] stands behind them.
pub fn response_head(size: u32) -> [u8; RESPONSE_HEAD] {
    size.to_be_bytes()
}

/// Returns the size of the frame with a response that begins with these bytes,
/// once its first word is there.
///
/// # Errors
/// [`FrameError::Empty`] for the empty response of a simulator without power, and
/// [`FrameError::Size`] for a response of less than ten bytes or more than
/// `largest`.
pub fn response_size(bytes: &[u8], largest: usize) -> Result<Option<usize>, FrameError> {
    match super::word(bytes) {
        None => Ok(None),
        Some(0) => Err(FrameError::Empty),
        Some(size) => {
            let size = FrameError::check(size as usize, Header::SIZE, largest)?;
            Ok(Some(RESPONSE_HEAD + size + DONE.len()))
        }
    }
}

/// Decodes the frame with a response that begins with these bytes.
///
/// # Errors
/// Those of [`response_size`], and [`FrameError::Trailer`] if the response is
/// not followed by 0.
///
/// ```
/// use rusttcti::wire::frame::{Decoded, mssim};
///
/// let response = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1];
/// let frame = [&mssim::response_head(10)[..], &response, &mssim::DONE].concat();
/// let decoded = mssim::decode_response(&frame, 4096)?;
/// assert_eq!(decoded, Decoded::Message(&response[..], 18));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_response(bytes: &[u8], largest: usize) -> Result<Decoded<&[u8]>, FrameError> {
    let Some(size) = response_size(bytes, largest)? else {
        return Ok(Decoded::Needs(RESPONSE_HEAD));
    };
    let Some(frame) = bytes.get(RESPONSE_HEAD..size) else {
        return Ok(Decoded::Needs(size));
    };
    match frame.split_last_chunk() {
        Some((response, &DONE)) => Ok(Decoded::Message(response, size)),
        Some((_, end)) => Err(FrameError::Trailer(u32::from_be_bytes(*end))),
        None => Ok(Decoded::Needs(size)),
    }
}

macro_rules! signals {
    ($($(#[$doc:meta])* $signal:ident = $code:literal, $name:literal;)*) => {
        /// A client's signal on the platform channel.
        ///
        /// ```
        /// use rusttcti::wire::frame::mssim::Signal;
        ///
        /// assert_eq!(Signal::NvOn.encode(), [0, 0, 0, 11]);
        /// assert_eq!(Signal::decode([0, 0, 0, 11]), Ok(Signal::NvOn));
        /// assert_eq!(Signal::NvOn.name(), "NV_ON");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Signal { $($(#[$doc])* $signal,)* }

        impl Signal {
            /// Returns the name that the simulator has for it, such as `NV_ON`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$signal => $name,)* }
            }

            /// Returns the bytes that are sent.
            pub const fn encode(self) -> [u8; 4] {
                let code: u32 = match self { $(Self::$signal => $code,)* };
                code.to_be_bytes()
            }

            /// Decodes a signal.
            ///
            /// # Errors
            /// [`FrameError::Code`] for one that is none of these.
            pub const fn decode(bytes: [u8; 4]) -> Result<Self, FrameError> {
                match u32::from_be_bytes(bytes) {
                    $($code => Ok(Self::$signal),)*
                    code => Err(FrameError::Code(code)),
                }
            }

            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$signal),*];
        }
    };
}

signals! {
    /// Gives the TPM power; again does no harm.
    PowerOn = 1, "POWER_ON";
    /// Takes its power.
    PowerOff = 2, "POWER_OFF";
    /// Asserts physical presence.
    PhysicalPresenceOn = 3, "PHYS_PRES_ON";
    /// Asserts it no more.
    PhysicalPresenceOff = 4, "PHYS_PRES_OFF";
    /// Cancels the command that runs, and those that come.
    CancelOn = 9, "CANCEL_ON";
    /// Cancels no more.
    CancelOff = 10, "CANCEL_OFF";
    /// Makes NV memory available.
    NvOn = 11, "NV_ON";
    /// Makes it unavailable.
    NvOff = 12, "NV_OFF";
    /// Resets the TPM.
    Reset = 17, "RESET";
    /// Ends the connection; not answered. The TPM channel has the same.
    SessionEnd = 20, "SESSION_END";
    /// Ends the simulator; not answered.
    Stop = 21, "STOP";
}
