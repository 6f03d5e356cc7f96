// SPDX-License-Identifier: BSD-2-Clause
//! Bytes that look like commands and responses more often than random ones do,
//! for property tests.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::{Command, Header, tag};

/// Bytes that a command may be.
pub(super) fn command() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![
        9 => (0..Command::all().len()).prop_map(|number| Command::all()[number].code.0),
        1 => any::<u32>(),
    ];
    with_header(codes)
}

/// Bytes that a response may be.
pub(super) fn response() -> impl Strategy<Value = Vec<u8>> {
    with_header(prop_oneof![9 => Just(0), 1 => any::<u32>()])
}

/// Nearly always with the right size and a tag; sizes within are small.
fn with_header(codes: impl Strategy<Value = u32>) -> impl Strategy<Value = Vec<u8>> {
    let tags = prop_oneof![
        4 => Just(tag::NO_SESSIONS),
        15 => Just(tag::SESSIONS),
        1 => any::<u16>(),
    ];
    let bytes = prop_oneof![3 => Just(0u8), 2 => 0..20u8, 1 => any::<u8>()];
    let body = prop::collection::vec(bytes, 0..64);
    let wrong = prop_oneof![19 => Just(0u32), 1 => any::<u32>()];
    let cut = prop_oneof![19 => Just(usize::MAX), 1 => 0..10usize];
    (tags, codes, body, wrong, cut).prop_map(|(tag, code, body, wrong, cut)| {
        let size = (Header::SIZE + body.len()) as u32 ^ wrong;
        let mut bytes = Header { tag, size, code }.to_bytes().to_vec();
        bytes.extend(body);
        bytes.truncate(cut);
        bytes
    })
}
