// SPDX-License-Identifier: BSD-2-Clause
//! The text of an error that shows where a command differs from the recorded one.

#![forbid(unsafe_code)]

use std::ops::Range;

use super::nonces;
use crate::wire::{CommandCode, CommandView, Handle, Header};

/// Returns whether two messages differ in nothing but these bytes of theirs.
pub(super) fn same(
    (one, free): (&[u8], &[Range<usize>]),
    (other, other_free): (&[u8], &[Range<usize>]),
) -> bool {
    free == other_free && one.len() == other.len() && first(one, other, free).is_none()
}

/// Returns the offset of the first difference outside of some ranges.
fn first(one: &[u8], other: &[u8], free: &[Range<usize>]) -> Option<usize> {
    let counted = |at: &usize| !free.iter().any(|range| range.contains(at));
    let shorter = one.len().min(other.len());
    let end = (one.len() != other.len()).then_some(shorter);
    let mut differing = (0..shorter).filter(|at| one[*at] != other[*at]);
    differing.find(counted).or(end)
}

/// Returns a text that says where the sent command differs from the recorded one.
pub(super) fn told(recorded: &[u8], sent: &[u8]) -> String {
    let [was, is] = [recorded, sent].map(|bytes| Header::parse(bytes).map(|header| header.code));
    let [was, is] = [was, is].map(|code| CommandCode(code.unwrap_or_default()));
    if was != is {
        return format!("{is} was sent, and {was} was recorded (byte 6, the command code)");
    }
    // The size in the header is a consequence of what stands behind.
    let mut free = nonces::of_command(recorded);
    free.push(2..6);
    let Some(at) = first(recorded, sent, &free) else {
        return format!("{is} differs in the lengths of its nonces");
    };
    // The last byte of the field, if one command ends earlier.
    let field = match at < sent.len() {
        true => field(sent, at),
        false => field(recorded, at),
    };
    let values = match field.secret {
        true => "their values are hidden".to_owned(),
        false => format!("recorded {}, sent {}", hex(recorded, at), hex(sent, at)),
    };
    format!(
        "{is} differs from byte {at} on, in {}: {values}",
        field.name
    )
}

/// Up to four bytes.
fn hex(bytes: &[u8], at: usize) -> String {
    let part = bytes.get(at..bytes.len().min(at + 4)).unwrap_or_default();
    match part.is_empty() {
        true => "nothing".to_owned(),
        false => part.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A field of a command.
struct Field {
    name: String,
    secret: bool,
}

/// Returns the field that a byte is in.
fn field(command: &[u8], at: usize) -> Field {
    let plain = |name: &str| Field {
        name: name.to_owned(),
        secret: false,
    };
    match at {
        0..2 => return plain("the tag"),
        2..6 => return plain("the size"),
        6..10 => return plain("the command code"),
        _ => {}
    }
    let Ok(view) = CommandView::parse(command) else {
        return plain("what follows the header");
    };
    let mut handles = view.handles();
    if let Some(handle) = handles.find(|handle| (handle.offset..handle.offset + 4).contains(&at)) {
        return plain(&format!("the handle {}", handle.info.name));
    }
    if at >= view.parameters_offset() {
        let name = format!("parameter byte {}", at - view.parameters_offset());
        return Field {
            name,
            secret: has_secrets(view.code()),
        };
    }
    for (number, auth) in view.auths().enumerate() {
        let number = number + 1;
        if !(auth.offset..auth.end()).contains(&at) {
            continue;
        }
        let is_password = auth.handle == Handle::RS_PW;
        let part = match at {
            _ if at < auth.offset + 4 => "the handle",
            _ if at < auth.attributes_offset() => "the nonce",
            _ if at == auth.attributes_offset() => "the attributes",
            _ if is_password => "the password",
            _ => "the HMAC",
        };
        return Field {
            name: format!("{part} of session {number}"),
            secret: part == "the password",
        };
    }
    plain("the size of the authorization area")
}

/// Returns whether a command's parameters may hold an authorization value, a sensitive
/// area, or other secrets.
fn has_secrets(code: CommandCode) -> bool {
    matches!(
        code,
        CommandCode::CREATE
            | CommandCode::CREATE_PRIMARY
            | CommandCode::CREATE_LOADED
            | CommandCode::LOAD_EXTERNAL
            | CommandCode::OBJECT_CHANGE_AUTH
            | CommandCode::HIERARCHY_CHANGE_AUTH
            | CommandCode::NV_CHANGE_AUTH
            | CommandCode::NV_DEFINE_SPACE
            | CommandCode::NV_WRITE
            | CommandCode::HMAC_START
            | CommandCode::HMAC
            | CommandCode::HASH_SEQUENCE_START
            | CommandCode::SEQUENCE_UPDATE
            | CommandCode::SEQUENCE_COMPLETE
            | CommandCode::ENCRYPT_DECRYPT
            | CommandCode::ENCRYPT_DECRYPT2
            | CommandCode::RSA_ENCRYPT
            | CommandCode::DUPLICATE
            | CommandCode::IMPORT
            | CommandCode::STIR_RANDOM
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CommandBuilder, SessionAttributes};

    fn unseal(handle: u32, password: &[u8], nonce: &[u8]) -> Vec<u8> {
        CommandBuilder::new(CommandCode::UNSEAL)
            .handle(Handle(handle))
            .auth(
                Handle(0x0200_0000),
                nonce,
                SessionAttributes::NONE,
                &[9; 32],
            )
            .and_then(|command| command.auth(Handle::RS_PW, &[], SessionAttributes::NONE, password))
            .expect("a command")
            .build()
    }

    #[test]
    fn the_first_difference_is_named_with_its_command_offset_and_field() {
        let recorded = unseal(0x8000_0000, b"secret", &[1; 16]);
        let random = |bytes: u16| {
            CommandBuilder::new(CommandCode::GET_RANDOM)
                .u16(bytes)
                .build()
        };
        for (one, other, expected) in [
            (
                recorded.clone(),
                unseal(0x8000_0001, b"secret", &[1; 16]),
                "Unseal differs from byte 13 on, in the handle itemHandle: recorded 00000000, \
                 sent 01000000",
            ),
            (
                recorded.clone(),
                unseal(0x8000_0000, b"Secret", &[2; 16]),
                "Unseal differs from byte 84 on, in the password of session 2: their values are \
                 hidden",
            ),
            (
                random(8),
                random(9),
                "GetRandom differs from byte 11 on, in parameter byte 1: recorded 08, sent 09",
            ),
            (
                random(8),
                CommandBuilder::startup(0).build(),
                "Startup was sent, and GetRandom was recorded (byte 6, the command code)",
            ),
        ] {
            assert_eq!(told(&one, &other), expected);
        }
    }

    #[test]
    fn nonces_and_hmacs_are_no_difference() {
        let [one, other] = [1, 2].map(|nonce| unseal(0x8000_0000, b"secret", &[nonce; 16]));
        let [free, other_free] = [&one, &other].map(|bytes| nonces::of_command(bytes));
        assert!(same((&one, &free), (&other, &other_free)));
        assert!(!same((&one, &[]), (&other, &[])));
    }
}
