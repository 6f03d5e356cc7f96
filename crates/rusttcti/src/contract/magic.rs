// SPDX-License-Identifier: BSD-2-Clause
//! The magic value of a TCTI.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result};

/// The magic value of a TCTI: up to eight bytes that distinguish its contexts from
/// others.
///
/// ```
/// use rusttcti::Magic;
///
/// const MAGIC: Magic = Magic::new(b"COOL");
/// assert_eq!(MAGIC.number(), 0x434f_4f4c);
/// assert_eq!(MAGIC.as_bytes(), b"COOL");
/// assert_eq!(Magic::try_new(b"NINEBYTES"), None);
/// assert!(Magic::try_from(&b"NINEBYTES"[..]).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Magic {
    bytes: [u8; 8],
    len: u8,
}

impl Magic {
    /// Returns the magic of these bytes.
    ///
    /// # Panics
    /// If they are more than eight: at compile time for a constant.
    pub const fn new(bytes: &[u8]) -> Self {
        match Self::try_new(bytes) {
            Some(magic) => magic,
            None => panic!("a TCTI's magic has at most 8 bytes"),
        }
    }

    /// Returns the magic of these bytes; `None` if there are more than eight.
    pub const fn try_new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > 8 {
            return None;
        }
        let mut magic = Self {
            bytes: [0; 8],
            len: bytes.len() as u8,
        };
        let mut at = 0;
        while at < bytes.len() {
            magic.bytes[at] = bytes[at];
            at += 1;
        }
        Some(magic)
    }

    /// Returns the bytes that were given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns the bytes as one big-endian number, as the C struct holds it.
    pub const fn number(self) -> u64 {
        let mut number = 0;
        let mut at = 0;
        while at < self.len as usize {
            number = number << 8 | self.bytes[at] as u64;
            at += 1;
        }
        number
    }
}

impl std::fmt::Debug for Magic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Magic(\"{}\")", self.as_bytes().escape_ascii())
    }
}

/// Makes the magic of at most eight bytes that are known only at run time.
impl TryFrom<&[u8]> for Magic {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self> {
        Self::try_new(bytes).ok_or_else(|| {
            Error::new(
                ErrorKind::BadValue,
                format!("a magic of {} bytes (it has at most 8)", bytes.len()),
            )
        })
    }
}
