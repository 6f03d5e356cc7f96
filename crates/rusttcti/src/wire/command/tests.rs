// SPDX-License-Identifier: BSD-2-Clause
//! Views of commands, whole and cut.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::wire::{CommandBuilder, SessionAttributes};

fn error(bytes: &[u8]) -> String {
    let error = CommandView::parse(bytes).expect_err("a command that is wrong");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    error.to_string()
}

/// TPM2_NV_Certify with three handles and two authorizations.
fn nv_certify() -> Vec<u8> {
    CommandBuilder::new(CommandCode::NV_CERTIFY)
        .handle(Handle(0x8100_0001))
        .handle(Handle::OWNER)
        .handle(Handle(0x0150_0000))
        .auth(
            Handle(0x0200_0000),
            &[1; 16],
            SessionAttributes(0x21),
            &[2; 32],
        )
        .and_then(|builder| builder.auth(Handle::RS_PW, &[], SessionAttributes::NONE, b"owner"))
        .and_then(|builder| builder.sized(b"nonce"))
        .expect("short buffers")
        .u16(0x10)
        .u16(32)
        .u16(0)
        .build()
}

#[test]
fn every_cut_of_a_command_is_told_by_the_part_that_is_cut() {
    let whole = nv_certify();
    let auths = Header::SIZE + 3 * 4 + 4;
    let parameters = CommandView::parse(&whole).unwrap().parameters_offset();
    for length in 0..whole.len() {
        let mut bytes = whole[..length].to_vec();
        if length >= 6 {
            bytes[2..6].copy_from_slice(&(length as u32).to_be_bytes());
        }
        let part = match length {
            0..10 => "header",
            10..14 => "signHandle",
            14..18 => "authHandle",
            18..22 => "nvIndex",
            _ if length < parameters => "authorization area",
            _ => {
                let view = CommandView::parse(&bytes).expect("the parameters are not read");
                assert_eq!(view.parameters(), &whole[parameters..length]);
                continue;
            }
        };
        let text = error(&bytes);
        assert!(
            text.contains(&format!("ends within its {part} ")),
            "{length}: {text}"
        );
    }
    assert!(auths < parameters);
}

#[test]
fn an_authorization_area_that_ends_within_an_entry_is_told_by_its_number() {
    let mut bytes = nv_certify();
    // The password claims a byte more than the area has.
    let second = CommandView::parse(&bytes).unwrap().auths().nth(1).unwrap();
    let size = second.hmac_offset() - 1;
    bytes[size] += 1;
    assert!(error(&bytes).contains("ends within authorization 2"));
}

#[test]
fn a_size_that_is_not_the_number_of_bytes_is_told_with_both() {
    for size in [0, 10, 13, u32::MAX] {
        let mut bytes = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
        bytes[2..6].copy_from_slice(&size.to_be_bytes());
        let text = error(&bytes);
        assert!(text.contains(&format!("has 12 bytes, and its header says {size}")));
    }
}

#[test]
fn a_tag_that_no_command_has_is_told() {
    let mut bytes = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
    bytes[..2].copy_from_slice(&[0x00, 0xc1]);
    assert!(error(&bytes).contains("the tag 0x00c1"));
}

#[test]
fn an_unknown_command_is_a_header_and_the_rest() {
    for tag in [tag::NO_SESSIONS, tag::SESSIONS] {
        let mut bytes = CommandBuilder::new(CommandCode(0x2000_0fff)).u32(7).build();
        bytes[..2].copy_from_slice(&tag.to_be_bytes());
        let view = CommandView::parse(&bytes).expect("not ours to refuse");
        assert_eq!(view.info(), None);
        assert_eq!(view.parameters(), [0, 0, 0, 7]);
        assert_eq!((view.handles().count(), view.auths().count()), (0, 0));
    }
}

#[test]
fn the_handle_that_flush_context_has_for_a_parameter_is_found() {
    let flush = CommandBuilder::flush_context(Handle(0x0200_0001)).build();
    let view = CommandView::parse(&flush).unwrap();
    assert_eq!(view.flushed_parameter(), Some(Handle(0x0200_0001)));
    assert_eq!(view.parameters_offset(), 10);
    let other = CommandBuilder::get_capability(1, 2, 3).build();
    let view = CommandView::parse(&other).unwrap();
    assert_eq!(view.flushed_parameter(), None);
}

proptest! {
    #[test]
    fn of_any_bytes_a_view_reads_no_more_than_there_are(
        bytes in crate::wire::test_bytes::command(),
    ) {
        let Ok(view) = CommandView::parse(&bytes) else {
            return Ok(());
        };
        let mut at = Header::SIZE;
        for handle in view.handles() {
            prop_assert_eq!(handle.offset, at);
            at += 4;
        }
        prop_assert_eq!(view.handles().count(), view.info().map_or(0, |info| info.handles.len()));
        if view.info().is_some() && view.has_auths() {
            at += 4;
        }
        prop_assert_eq!(view.auth_area_offset(), at);
        for auth in view.auths() {
            prop_assert_eq!(auth.offset, at);
            at = auth.end();
        }
        prop_assert_eq!(view.parameters_offset(), at);
        prop_assert_eq!(view.parameters(), &bytes[at..]);
    }
}
