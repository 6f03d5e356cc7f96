// SPDX-License-Identifier: BSD-2-Clause
//! Views of responses, whole and cut.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::wire::{CommandCode, ResponseBuilder, SessionAttributes};

fn error(bytes: &[u8], code: CommandCode) -> String {
    let error = ResponseView::parse(bytes, Command::of(code)).expect_err("it is wrong");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    error.to_string()
}

/// A response to TPM2_Load with one session.
fn loaded() -> Vec<u8> {
    ResponseBuilder::new(ResponseCode::SUCCESS)
        .handle(Handle(0x8000_0002))
        .sized(&[7; 34])
        .and_then(|builder| builder.auth(&[1; 16], SessionAttributes(1), &[2; 32]))
        .expect("short buffers")
        .build()
}

#[test]
fn every_cut_of_a_response_is_told_by_the_part_that_is_cut() {
    let whole = loaded();
    let auths = 10 + 4 + 4 + 36;
    for length in 0..whole.len() {
        let mut bytes = whole[..length].to_vec();
        if length >= 6 {
            bytes[2..6].copy_from_slice(&(length as u32).to_be_bytes());
        }
        if length == auths {
            // No session: whether there should be one, the command says.
            assert!(ResponseView::parse(&bytes, Command::of(CommandCode::LOAD)).is_ok());
            continue;
        }
        let part = match length {
            0..10 => "within its header",
            10..14 => "within its handle",
            14..18 => "within its parameter size",
            18..54 => "within its parameters",
            _ => "within authorization 1",
        };
        let text = error(&bytes, CommandCode::LOAD);
        assert!(text.contains(part), "{length}: {text}");
    }
}

#[test]
fn an_error_is_a_header_whatever_the_command() {
    for tag in [tag::NO_SESSIONS, tag::RSP_COMMAND] {
        let mut bytes = ResponseBuilder::new(ResponseCode::FAILURE).build();
        bytes[..2].copy_from_slice(&tag.to_be_bytes());
        let view = ResponseView::parse(&bytes, Command::of(CommandCode::LOAD)).unwrap();
        assert!(!view.is_success());
        assert_eq!((view.handle(), view.parameters()), (None, &[][..]));
        assert_eq!(view.auths().count(), 0);
    }
}

#[test]
fn a_successful_response_with_a_tag_that_none_has_is_told() {
    let mut bytes = ResponseBuilder::new(ResponseCode::SUCCESS).build();
    bytes[..2].copy_from_slice(&[0, 0xc4]);
    assert!(error(&bytes, CommandCode::FLUSH_CONTEXT).contains("0x00c4"));
}

proptest! {
    #[test]
    fn of_any_bytes_a_view_reads_no_more_than_there_are(
        bytes in crate::wire::test_bytes::response(),
        number in 0..=Command::all().len(),
    ) {
        let info = Command::all().get(number);
        let Ok(view) = ResponseView::parse(&bytes, info) else {
            return Ok(());
        };
        let handle = view.handle().map_or(0, |_| 4);
        let expected = info.is_some_and(|info| info.response_handle.is_some());
        prop_assert_eq!(handle == 4, expected && view.is_success());
        let with_size = view.is_success() && view.has_auths() && info.is_some();
        let at = Header::SIZE + handle + if with_size { 4 } else { 0 };
        prop_assert_eq!(view.parameters_offset(), at);
        let at = at + view.parameters().len();
        prop_assert_eq!(view.auth_area_offset(), at);
        let end = view.auths().last().map_or(at, |auth| auth.end());
        prop_assert_eq!(end, bytes.len());
    }
}
