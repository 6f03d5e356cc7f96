// SPDX-License-Identifier: BSD-2-Clause
//! Reads big-endian numbers and sized buffers, never beyond the bytes it has.

#![forbid(unsafe_code)]

use super::header::Header;
use crate::{Error, ErrorKind, Result};

/// A position in the bytes of a command or response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at an offset, which may be the end.
    pub(crate) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Returns the offset of what is read next.
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    /// Returns whether all was read.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Returns what was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..count)?;
        self.at += count;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let word = self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes(*word))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let word = self.take(4)?.first_chunk()?;
        Some(u32::from_be_bytes(*word))
    }

    /// Reads a TPM2B: a 16-bit size, and as many bytes.
    pub(crate) fn sized(&mut self) -> Option<&'a [u8]> {
        let size = self.u16()?;
        self.take(usize::from(size))
    }
}

/// The kind of bytes that a view is made of, for its errors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Command,
    Response,
}

impl Subject {
    /// Returns the error that something in the bytes is wrong.
    pub(crate) fn error(self, text: String) -> Error {
        match self {
            Self::Command => Error::new(ErrorKind::BadValue, format!("the command {text}")),
            Self::Response => {
                Error::new(ErrorKind::MalformedResponse, format!("the response {text}"))
            }
        }
    }

    /// Returns the error that the bytes end before or within this part.
    pub(crate) fn cut(self, part: &str, bytes: &[u8]) -> Error {
        self.error(format!("ends within its {part} ({} bytes)", bytes.len()))
    }
    /// Reads the header, whose size must be the number of bytes.
    pub(crate) fn header(self, bytes: &[u8]) -> Result<Header> {
        let header = Header::parse(bytes).ok_or_else(|| self.cut("header", bytes))?;
        if header.size as usize == bytes.len() {
            return Ok(header);
        }
        Err(self.error(format!(
            "has {} bytes, and its header says {}",
            bytes.len(),
            header.size
        )))
    }
}
