// SPDX-License-Identifier: BSD-2-Clause
//! Commands and responses without frames: each message has its size in its header (Part
//! 1, section 18).

#![forbid(unsafe_code)]

use super::{Decoded, FrameError};
use crate::wire::{Header, tag};

/// Returns the size of the command or response that begins with these bytes, once
/// its first six are there.
///
/// # Errors
/// [`FrameError::Size`] for less than a header, or more than `largest`.
///
/// ```
/// use rusttcti::wire::frame::raw;
///
/// assert_eq!(raw::size(&[0x80, 0x01, 0, 0, 0], 4096), Ok(None));
/// assert_eq!(raw::size(&[0x80, 0x01, 0, 0, 0, 12], 4096), Ok(Some(12)));
/// let error = raw::size(&[0x80, 0x01, 0, 0, 0, 9], 4096).expect_err("a header has ten");
/// assert_eq!(error.to_string(), "a size of 9 bytes (10 to 4096 are possible)");
/// ```
pub fn size(bytes: &[u8], largest: usize) -> Result<Option<usize>, FrameError> {
    let Some(size) = bytes.get(2..).and_then(super::word) else {
        return Ok(None);
    };
    FrameError::check(size as usize, Header::SIZE, largest).map(Some)
}

/// Returns the size of the response that begins with these bytes, as [`size`]
/// does, and looks at its tag as soon as its first two bytes are there: what a
/// shell, a server of another kind or a terminal says is found out at once, be it
/// shorter than a header.
///
/// # Errors
/// [`FrameError::Tag`] for a tag that no response has; those of [`size`].
///
/// ```
/// use rusttcti::wire::frame::raw;
///
/// assert_eq!(raw::response_size(&[0x80, 0x01, 0, 0, 0, 12], 4096), Ok(Some(12)));
/// let error = raw::response_size(b"SSH", 4096).expect_err("no response");
/// assert_eq!(error.to_string(), "the tag 0x5353, which no response has");
/// ```
pub fn response_size(bytes: &[u8], largest: usize) -> Result<Option<usize>, FrameError> {
    if let Some(first) = bytes.first_chunk() {
        let found = u16::from_be_bytes(*first);
        if ![tag::NO_SESSIONS, tag::SESSIONS, tag::RSP_COMMAND].contains(&found) {
            return Err(FrameError::Tag(found));
        }
    }
    size(bytes, largest)
}

/// Decodes the command or response that begins with these bytes.
///
/// # Errors
/// Those of [`size`].
pub fn decode(bytes: &[u8], largest: usize) -> Result<Decoded<&[u8]>, FrameError> {
    let size = size(bytes, largest)?;
    Ok(match size.and_then(|size| bytes.get(..size)) {
        Some(message) => Decoded::Message(message, message.len()),
        None => Decoded::Needs(size.unwrap_or(Header::SIZE)),
    })
}
