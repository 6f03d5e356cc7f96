// SPDX-License-Identifier: BSD-2-Clause
//! Command codes, and their names.

#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use super::info::Command;
use crate::{Error, ErrorKind, Result};

/// A command code (`TPM_CC`; Part 2, section 6.5.2).
///
/// It prints as the specification's name, or as a hexadecimal number if it has no
/// name. It parses from both, in any common spelling:
///
/// ```
/// use rusttcti::wire::CommandCode;
///
/// assert_eq!(CommandCode::GET_RANDOM, CommandCode(0x17b));
/// assert_eq!(CommandCode::GET_RANDOM.to_string(), "GetRandom");
/// assert_eq!(CommandCode(0x2000_0001).to_string(), "0x20000001");
/// for text in ["GetRandom", "TPM2_GetRandom", "TPM_CC_GET_RANDOM", "getrandom", "0x17b", "379"] {
///     assert_eq!(text.parse::<CommandCode>()?, CommandCode::GET_RANDOM);
/// }
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandCode(pub u32);

impl CommandCode {
    /// TPM2_MAC, which has the code of TPM2_HMAC.
    pub const MAC: Self = Self::HMAC;
    /// TPM2_MAC_Start, which has the code of TPM2_HMAC_Start.
    pub const MAC_START: Self = Self::HMAC_START;

    /// Bit 29, set in the codes of commands that a vendor added (`TPMA_CC` V;
    /// Part 2, section 8.9).
    const VENDOR: u32 = 1 << 29;

    /// Returns the specification's name, such as `GetRandom`.
    pub fn name(self) -> Option<&'static str> {
        Command::of(self).map(|command| command.name)
    }

    /// Returns whether a vendor added this command.
    pub const fn is_vendor(self) -> bool {
        self.0 & Self::VENDOR != 0
    }
}

impl fmt::Display for CommandCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "0x{:x}", self.0),
        }
    }
}

impl fmt::Debug for CommandCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandCode({self})")
    }
}

impl From<u32> for CommandCode {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<CommandCode> for u32 {
    fn from(code: CommandCode) -> Self {
        code.0
    }
}

impl FromStr for CommandCode {
    type Err = Error;

    /// Reads a name, with or without `TPM2_`, `TPM_CC_` or `TPM2_CC_` in front,
    /// or a decimal or hexadecimal (0x) number. Case and underscores in a name
    /// don't count.
    ///
    /// # Errors
    /// [`ErrorKind::BadValue`] for a name that no command has, or no number.
    fn from_str(text: &str) -> Result<Self> {
        number(text)
            .or_else(|| named(text))
            .ok_or_else(|| unknown(text))
    }
}

fn number(text: &str) -> Option<CommandCode> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hexadecimal.map_or((text, 10), |digits| (digits, 16));
    if !digits.starts_with(|digit: char| digit.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().map(CommandCode)
}

fn named(text: &str) -> Option<CommandCode> {
    let aliases = [
        ("MAC", CommandCode::MAC),
        ("MAC_Start", CommandCode::MAC_START),
    ];
    let names = Command::all()
        .iter()
        .map(|command| (command.name, command.code));
    let name = bare(text);
    names
        .chain(aliases)
        .find(|(known, _)| is_spelling_of(name, known))
        .map(|(_, code)| code)
}

/// Returns the name behind its prefix, if it has one.
fn bare(text: &str) -> &str {
    ["TPM2_CC_", "TPM_CC_", "TPM2_", "TPM_"]
        .iter()
        .find_map(|prefix| {
            let (head, name) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(name)
        })
        .unwrap_or(text)
}

fn is_spelling_of(text: &str, name: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = u8> {
        let letters = text.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_lowercase())
    }
    letters(text).eq(letters(name))
}

fn unknown(text: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!(
            "there is no TPM command \"{text}\" \
             (give its name, such as GetRandom, or its code, such as 0x17b)"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_in_each_spelling() {
        for command in Command::all() {
            let name = command.name;
            for text in [
                name.to_string(),
                name.to_lowercase(),
                name.to_uppercase(),
                name.replace('_', ""),
                format!("TPM2_{name}"),
                format!("TPM_CC_{name}"),
                format!("TPM2_CC_{name}"),
                format!("tpm2_cc_{}", name.to_lowercase()),
                format!("0x{:x}", command.code.0),
                format!("0X{:08X}", command.code.0),
                command.code.0.to_string(),
            ] {
                assert_eq!(text.parse().ok(), Some(command.code), "{text}");
            }
            assert_eq!(command.code.to_string(), name);
        }
    }

    #[test]
    fn words_and_underscores_may_be_where_a_user_puts_them() {
        for (text, code) in [
            ("TPM2_CC_GET_RANDOM", CommandCode::GET_RANDOM),
            ("ecdh_key_gen", CommandCode::ECDH_KEY_GEN),
            ("TPM2_MAC_Start", CommandCode::HMAC_START),
            ("mac", CommandCode::HMAC),
            ("POLICY_AC_SEND_SELECT", CommandCode::POLICY_AC_SEND_SELECT),
        ] {
            assert_eq!(text.parse().ok(), Some(code), "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_and_quoted() {
        for text in [
            "",
            "_",
            "TPM2_",
            "GetRandum",
            "0x",
            "-1",
            "+379",
            "0x1ffffffff",
            "0x+1",
            "é",
        ] {
            let error = text.parse::<CommandCode>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::BadValue, "{text}");
            assert!(
                error.to_string().contains(&format!("\"{text}\"")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_vendor_s_command_is_told_by_its_bit() {
        assert!(CommandCode::VENDOR_TCG_TEST.is_vendor());
        assert!(!CommandCode::GET_RANDOM.is_vendor());
        assert_eq!(CommandCode(0x2000_1234).name(), None);
    }
}
