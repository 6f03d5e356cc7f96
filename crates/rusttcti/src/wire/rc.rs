// SPDX-License-Identifier: BSD-2-Clause
//! Response codes as text: the name, a sentence, and the handle, parameter or session
//! that the code refers to.

#![forbid(unsafe_code)]

mod codes;

use std::fmt;

use crate::Error;

/// A response code (`TPM_RC`; Part 2, section 6.6), or the `TSS2_RC` of another
/// part of the stack, which has its layer in bits 16 to 23 (TSS 2.0 Overview and
/// Common Structures, section 3.2).
///
/// The constants are codes without a number; [`base`](Self::base) returns that
/// of any code. It prints as the name and what is blamed; with `{:#}`, a sentence
/// follows:
///
/// ```
/// use rusttcti::wire::{Blamed, ResponseCode};
///
/// let code = ResponseCode(0x98e);
/// assert_eq!(code.to_string(), "TPM_RC_AUTH_FAIL, session 1");
/// assert_eq!(code.base(), ResponseCode::AUTH_FAIL);
/// assert_eq!(code.blamed(), Some(Blamed::Session(1)));
/// assert_eq!(
///     format!("{:#}", ResponseCode(0x1d5)),
///     "TPM_RC_SIZE, parameter 1: a structure has the wrong size"
/// );
///
/// assert!(ResponseCode::RETRY.is_warning());
/// assert_eq!(ResponseCode(0x000b_0143).to_string(), "TPM_RC_COMMAND_CODE (resource manager)");
/// assert_eq!(ResponseCode(0x000a_0009).to_string(), "TSS2_TCTI_RC_TRY_AGAIN");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode(pub u32);

/// A part of a command that a response code blames, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blamed {
    /// A handle of the handle area.
    Handle(u8),
    /// A parameter.
    Parameter(u8),
    /// A session of the authorization area.
    Session(u8),
}

/// Bit 7, which is set in format-one codes, the ones that blame something.
const FORMAT_ONE: u32 = 0x080;
/// Bit 6, which is set in a format-one code that blames a parameter.
const PARAMETER: u32 = 0x040;
/// Bit 11, which is set in a format-one code that blames a session, and in
/// warnings.
const SESSION: u32 = 0x800;

/// The layers of a `TSS2_RC` that have codes of a TPM as well: both numbers are
/// in use for resource managers.
const RESOURCE_MANAGERS: [u32; 2] = [11, 12];

impl ResponseCode {
    /// Returns whether the command succeeded.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// Returns whether this is a format-one code, which may blame a handle, a
    /// parameter or a session.
    pub(crate) const fn is_format_one(self) -> bool {
        self.0 & FORMAT_ONE != 0
    }

    /// Returns whether this is a warning: nothing is wrong with the command, and it
    /// may succeed later, or when there is room.
    pub const fn is_warning(self) -> bool {
        match self.tpm_code() {
            Some(code) => code & (FORMAT_ONE | 0x900) == 0x900,
            None => false,
        }
    }

    /// Returns the layer of the stack that the code is of: 0 for the TPM, 10 for
    /// TCTIs, 11 and 12 for resource managers.
    pub const fn layer(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Returns the code of the TPM, without the layer of a resource manager that
    /// answered in its place; `None` for the code of another layer.
    const fn tpm_code(self) -> Option<u32> {
        let layer = self.0 >> 16;
        let code = self.0 & 0xffff;
        let is_tpm = layer == 0;
        // Below 0x80 are the numbers that all layers share.
        let is_manager =
            (layer == RESOURCE_MANAGERS[0] || layer == RESOURCE_MANAGERS[1]) && code >= FORMAT_ONE;
        if is_tpm || is_manager {
            Some(code)
        } else {
            None
        }
    }

    /// Returns the handle, parameter or session that is blamed, if one is.
    pub const fn blamed(self) -> Option<Blamed> {
        let Some(code) = self.tpm_code() else {
            return None;
        };
        let number = (code >> 8 & 0xf) as u8;
        match code {
            _ if code & FORMAT_ONE == 0 => match code {
                0x910..=0x916 => Some(Blamed::Handle((code & 0xf) as u8 + 1)),
                0x918..=0x91e => Some(Blamed::Session((code & 7) as u8 + 1)),
                _ => None,
            },
            _ if code & PARAMETER != 0 && number > 0 => Some(Blamed::Parameter(number)),
            _ if code & PARAMETER != 0 || number & 7 == 0 => None,
            _ if code & SESSION != 0 => Some(Blamed::Session(number & 7)),
            _ => Some(Blamed::Handle(number)),
        }
    }

    /// Returns this code with another handle, parameter or session blamed, as a
    /// layer needs that changed their numbers. A code that can blame none, or
    /// not that one, is returned as it is.
    #[must_use]
    pub const fn blaming(self, blamed: Blamed) -> Self {
        let Some(code) = self.tpm_code() else {
            return self;
        };
        let layer = self.0 - code;
        let base = self.base().0;
        if code & FORMAT_ONE == 0 {
            return match (base, blamed) {
                (0x910, Blamed::Handle(number @ 1..=7)) => Self(layer | (base - 1 + number as u32)),
                (0x918, Blamed::Session(number @ 1..=7)) => {
                    Self(layer | (base - 1 + number as u32))
                }
                _ => self,
            };
        }
        let blame = match blamed {
            Blamed::Handle(number @ 1..=7) => (number as u32) << 8,
            Blamed::Session(number @ 1..=7) => SESSION | (number as u32) << 8,
            Blamed::Parameter(number @ 1..=15) => PARAMETER | (number as u32) << 8,
            _ => return self,
        };
        Self(layer | base | blame)
    }

    /// Returns the code of the TPM without a layer, and without the number of the
    /// handle, parameter or session: one of the constants, if it has a name. The code
    /// of another layer is returned unchanged.
    #[must_use]
    pub const fn base(self) -> Self {
        match self.tpm_code() {
            None => self,
            Some(code) if code & FORMAT_ONE != 0 => Self(code & 0xbf),
            Some(0x910..=0x916) => Self::REFERENCE_H0,
            Some(0x918..=0x91e) => Self::REFERENCE_S0,
            Some(code) => Self(code),
        }
    }

    /// Returns the name of the code without what it blames, such as
    /// `TPM_RC_AUTH_FAIL` or `TSS2_TCTI_RC_IO_ERROR`.
    pub fn name(self) -> Option<&'static str> {
        let code = self.tpm_code().map_or(self, Self);
        match code.0 & (0xffff_0000 | FORMAT_ONE) {
            0 => code.words().map(|(name, _)| name),
            FORMAT_ONE => code.base().words().map(|(name, _)| name),
            _ => self.tcti_name(),
        }
    }

    /// Returns a sentence that says what went wrong, for a code that has a name.
    pub fn sentence(self) -> Option<&'static str> {
        self.tpm_code()?;
        self.base().words().map(|(_, sentence)| sentence)
    }

    fn tcti_name(self) -> Option<&'static str> {
        let kind = Error::from_rc(self.0).kind();
        let is_exact = Error::from(kind).rc() == self.0;
        is_exact.then(|| kind.c_name())
    }

    /// Returns the name of the layer, if it isn't the TPM.
    const fn layer_name(self) -> Option<&'static str> {
        Some(match self.layer() {
            6 => "FAPI",
            7 => "ESYS",
            8 => "SYS",
            9 => "MU",
            10 => "TCTI",
            11 | 12 => "resource manager",
            _ => return None,
        })
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "0x{:x}", self.0)?,
        }
        // The names of the others have the number in them.
        if let Some(blamed) = self.blamed() {
            if self.0 & FORMAT_ONE != 0 {
                write!(f, ", {blamed}")?;
            }
        }
        if let Some(layer) = self.layer_name() {
            if self.tcti_name().is_none() {
                write!(f, " ({layer})")?;
            }
        }
        match self.sentence() {
            Some(sentence) if f.alternate() => write!(f, ": {sentence}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Blamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handle(number) => write!(f, "handle {number}"),
            Self::Parameter(number) => write!(f, "parameter {number}"),
            Self::Session(number) => write!(f, "session {number}"),
        }
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseCode(0x{:x}: {self})", self.0)
    }
}

impl From<u32> for ResponseCode {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<ResponseCode> for u32 {
    fn from(code: ResponseCode) -> Self {
        code.0
    }
}

#[cfg(test)]
mod tests;
