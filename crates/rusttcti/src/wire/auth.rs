// SPDX-License-Identifier: BSD-2-Clause
//! The authorization areas of commands and responses, with one entry for each session.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::BitOr;

use super::cursor::Cursor;
use super::handle::Handle;

/// The attributes of a session in an authorization (`TPMA_SESSION`; Part 2,
/// section 8.4).
///
/// ```
/// use rusttcti::wire::SessionAttributes;
///
/// let attributes = SessionAttributes::CONTINUE_SESSION | SessionAttributes::DECRYPT;
/// assert_eq!(attributes.0, 0x21);
/// assert!(attributes.contains(SessionAttributes::DECRYPT));
/// assert!(!attributes.contains(SessionAttributes::AUDIT));
/// assert_eq!(attributes.to_string(), "continueSession|decrypt");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionAttributes(pub u8);

impl SessionAttributes {
    /// None.
    pub const NONE: Self = Self(0);
    /// The session is to stay after the command succeeded (continueSession).
    pub const CONTINUE_SESSION: Self = Self(0x01);
    /// The command is to run only if no other was audited since (auditExclusive).
    pub const AUDIT_EXCLUSIVE: Self = Self(0x02);
    /// The audit digest is to begin anew (auditReset).
    pub const AUDIT_RESET: Self = Self(0x04);
    /// The first parameter of the command is encrypted by this session (decrypt).
    pub const DECRYPT: Self = Self(0x20);
    /// The first parameter of the response is to be encrypted by this session (encrypt).
    pub const ENCRYPT: Self = Self(0x40);
    /// The session audits the command (audit).
    pub const AUDIT: Self = Self(0x80);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::CONTINUE_SESSION, "continueSession"),
        (Self::AUDIT_EXCLUSIVE, "auditExclusive"),
        (Self::AUDIT_RESET, "auditReset"),
        (Self::DECRYPT, "decrypt"),
        (Self::ENCRYPT, "encrypt"),
        (Self::AUDIT, "audit"),
    ];

    /// Returns whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns these attributes without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for SessionAttributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for SessionAttributes {
    /// Writes the names of the bits that are set, and the number of unknown ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut separator = "";
        for (bit, name) in Self::NAMES {
            if self.contains(bit) {
                write!(f, "{separator}{name}")?;
                separator = "|";
                rest = rest.without(bit);
            }
        }
        match (rest, separator) {
            (Self::NONE, "") => f.write_str("none"),
            (Self::NONE, _) => Ok(()),
            _ => write!(f, "{separator}0x{:02x}", rest.0),
        }
    }
}

/// A session in a command's authorization area (`TPMS_AUTH_COMMAND`; Part 2,
/// section 10.13.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthCommand<'a> {
    /// The session, or [`Handle::RS_PW`] for a password.
    pub handle: Handle,
    /// The caller's nonce.
    pub nonce: &'a [u8],
    /// The uses of the session in this command.
    pub attributes: SessionAttributes,
    /// The HMAC, or the password.
    pub hmac: &'a [u8],
    /// The offset of this entry, which begins with its handle, in the command.
    pub offset: usize,
}

impl<'a> AuthCommand<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let offset = cursor.offset();
        let handle = Handle(cursor.u32()?);
        let nonce = cursor.sized()?;
        let attributes = SessionAttributes(cursor.u8()?);
        let hmac = cursor.sized()?;
        Some(Self {
            handle,
            nonce,
            attributes,
            hmac,
            offset,
        })
    }
}

/// A session in a response's authorization area (`TPMS_AUTH_RESPONSE`; Part 2,
/// section 10.13.3). Its handle is that of the entry with the same number in the
/// command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthResponse<'a> {
    /// The TPM's nonce.
    pub nonce: &'a [u8],
    /// The attributes; continueSession is clear if the session was flushed.
    pub attributes: SessionAttributes,
    /// The HMAC; empty for a password.
    pub hmac: &'a [u8],
    /// The offset of this entry, which begins with its nonce's size, in the response.
    pub offset: usize,
}

impl<'a> AuthResponse<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let offset = cursor.offset();
        let nonce = cursor.sized()?;
        let attributes = SessionAttributes(cursor.u8()?);
        let hmac = cursor.sized()?;
        Some(Self {
            nonce,
            attributes,
            hmac,
            offset,
        })
    }
}

/// The offsets of an entry's fields: a handle in commands only, then the nonce with
/// its size, the attributes, and the HMAC with its size.
macro_rules! offsets {
    ($entry:ident, $handle_size:literal, $whole:literal) => {
        impl $entry<'_> {
            #[doc = concat!("Returns the offset of the nonce's first byte in the ", $whole, ".")]
            pub const fn nonce_offset(&self) -> usize {
                self.offset + $handle_size + 2
            }

            #[doc = concat!("Returns the offset of the attributes in the ", $whole, ".")]
            pub const fn attributes_offset(&self) -> usize {
                self.nonce_offset() + self.nonce.len()
            }

            #[doc = concat!("Returns the offset of the HMAC's first byte in the ", $whole, ".")]
            pub const fn hmac_offset(&self) -> usize {
                self.attributes_offset() + 1 + 2
            }

            #[doc = concat!("Returns the offset in the ", $whole, " at which this entry ends.")]
            pub const fn end(&self) -> usize {
                self.hmac_offset() + self.hmac.len()
            }
        }
    };
}

offsets!(AuthCommand, 4, "command");
offsets!(AuthResponse, 0, "response");

/// The sessions of an authorization area, in order.
#[derive(Clone, Copy, Debug)]
pub struct Auths<'a, T> {
    cursor: Cursor<'a>,
    read: fn(&mut Cursor<'a>) -> Option<T>,
}

impl<'a> Auths<'a, AuthCommand<'a>> {
    pub(super) fn of_command(cursor: Cursor<'a>) -> Self {
        Self {
            cursor,
            read: AuthCommand::read,
        }
    }
}

impl<'a> Auths<'a, AuthResponse<'a>> {
    pub(super) fn of_response(cursor: Cursor<'a>) -> Self {
        Self {
            cursor,
            read: AuthResponse::read,
        }
    }
}

impl<T> Auths<'_, T> {
    /// Reads to the end; the number of the entry, from 0, that is cut short.
    pub(super) fn check(mut self) -> Result<(), usize> {
        let mut number = 0_usize;
        while !self.cursor.is_at_end() {
            (self.read)(&mut self.cursor).ok_or(number)?;
            number += 1;
        }
        Ok(())
    }
}

impl<T> Iterator for Auths<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.cursor.is_at_end() {
            return None;
        }
        (self.read)(&mut self.cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_print_as_the_specification_names_them() {
        for (bits, text) in [
            (0, "none"),
            (0x01, "continueSession"),
            (0x83, "continueSession|auditExclusive|audit"),
            (0x60, "decrypt|encrypt"),
            (0x18, "0x18"),
            (0x09, "continueSession|0x08"),
        ] {
            assert_eq!(SessionAttributes(bits).to_string(), text);
        }
    }

    #[test]
    fn offsets_lead_to_the_fields_of_an_entry() {
        let bytes = [
            0, 2, 0, 0, 0, 0, 2, 0xa1, 0xa2, 0x41, 0, 3, 0xb1, 0xb2, 0xb3,
        ];
        let auth = Auths::of_command(Cursor::new(&bytes, 1))
            .next()
            .expect("one");
        assert_eq!(auth.handle, Handle(0x0200_0000));
        assert_eq!(auth.nonce, [0xa1, 0xa2]);
        assert_eq!(bytes[auth.nonce_offset()], 0xa1);
        assert_eq!(bytes[auth.attributes_offset()], 0x41);
        assert_eq!(bytes[auth.hmac_offset()], 0xb1);
        assert_eq!(auth.end(), bytes.len());

        let auth = Auths::of_response(Cursor::new(&bytes, 5))
            .next()
            .expect("one");
        assert_eq!(auth.nonce, [0xa1, 0xa2]);
        assert_eq!(bytes[auth.nonce_offset()], 0xa1);
        assert_eq!(bytes[auth.attributes_offset()], 0x41);
        assert_eq!(auth.hmac, [0xb1, 0xb2, 0xb3]);
        assert_eq!(auth.end(), bytes.len());
    }
}
