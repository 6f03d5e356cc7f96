// SPDX-License-Identifier: BSD-2-Clause
//! Frames: how commands, responses and the simulators' own requests follow each
//! other on a byte stream.
//!
//! Each protocol is encoded and decoded here for both ends, by functions that do
//! no I/O: clients, test servers and fuzz targets share them.
//!
//! - [`raw`]: bare commands and responses, with the size in their headers: swtpm's data
//!   channel, and every device.
//! - [`mssim`]: both channels of Microsoft's and the TCG's simulator.
//! - [`swtpm`]: swtpm's control channel.

#![forbid(unsafe_code)]

pub mod mssim;
pub mod raw;
pub mod swtpm;

use std::fmt;

use super::cursor::Cursor;

/// The result of decoding the first bytes of a stream.
///
/// A reader that waits reads on until there are as many bytes as are needed:
///
/// ```
/// use std::io::Read;
/// use rusttcti::wire::frame::{Decoded, mssim};
///
/// let mut stream = &[0, 0, 0, 8, 3, 0, 0, 0, 2, 0xaa, 0xbb, 0, 0, 0, 20][..];
/// let mut bytes = Vec::new();
/// let command = loop {
///     match mssim::Request::decode(&bytes, 4096)? {
///         Decoded::Needs(size) => {
///             let have = bytes.len();
///             bytes.resize(size, 0);
///             stream.read_exact(&mut bytes[have..])?;
///         }
///         Decoded::Message(message, _) => break message,
///     }
/// };
/// assert_eq!(command, mssim::Request::SendCommand { locality: 3, command: &[0xaa, 0xbb] });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// The message is not whole: it has this many bytes at least.
    Needs(usize),
    /// A message, and how many bytes it has.
    Message(T, usize),
}

/// A part of a frame that the protocol doesn't have. It prints as what a message
/// has: "a size of 9 bytes (10 to 4096 are possible)".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A size that no message has.
    Size {
        /// The size that the message claims.
        size: usize,
        /// The smallest that is possible.
        smallest: usize,
        /// The largest that is possible.
        largest: usize,
    },
    /// A tag that no response has.
    Tag(u16),
    /// No byte at all, where a response should be.
    Empty,
    /// Another word than 0 behind a response.
    Trailer(u32),
    /// A code that the protocol doesn't have.
    Code(u32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size {
                size,
                smallest,
                largest,
            } => write!(
                f,
                "a size of {size} bytes ({smallest} to {largest} are possible)"
            ),
            Self::Tag(tag) => write!(f, "the tag 0x{tag:04x}, which no response has"),
            Self::Empty => f.write_str("no bytes"),
            Self::Trailer(word) => write!(f, "0x{word:08x} at its end rather than 0"),
            Self::Code(code) => write!(f, "the unknown code {code}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl FrameError {
    /// Checks a size that a message claims.
    fn check(size: usize, smallest: usize, largest: usize) -> Result<usize, Self> {
        if (smallest..=largest).contains(&size) {
            return Ok(size);
        }
        Err(Self::Size {
            size,
            smallest,
            largest,
        })
    }
}

/// Reads a word at the start of a message.
fn word(bytes: &[u8]) -> Option<u32> {
    Cursor::new(bytes, 0).u32()
}

#[cfg(test)]
mod tests;
