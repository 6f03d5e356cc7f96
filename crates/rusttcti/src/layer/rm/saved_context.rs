// SPDX-License-Identifier: BSD-2-Clause
//! The parts of a saved context (TPMS_CONTEXT) that are not encrypted.

#![forbid(unsafe_code)]

/// The savedHandle of the context of a sequence object.
const SAVED_SEQUENCE: u32 = 0x8000_0001;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

/// Returns the sequence number of a saved context: for a session, the TPM's
/// count of saved sessions.
pub(super) fn order_of(context: &[u8]) -> u64 {
    context
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Returns the handle that a context was saved from, or the kind of object.
pub(super) fn saved_handle_of(context: &[u8]) -> Option<u32> {
    word(context, 8)
}

/// Returns the hierarchy that a saved context belongs to.
pub(super) fn hierarchy_of(context: &[u8]) -> Option<u32> {
    word(context, 12)
}

/// Returns whether this is the context of a sequence object.
pub(super) fn is_sequence(context: &[u8]) -> bool {
    saved_handle_of(context) == Some(SAVED_SEQUENCE)
}

/// Returns whether this is the context of a session.
pub(super) fn is_session(context: &[u8]) -> bool {
    saved_handle_of(context).is_some_and(|handle| matches!(handle >> 24, 2 | 3))
}
