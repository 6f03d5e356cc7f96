// SPDX-License-Identifier: BSD-2-Clause
//! The engine's own commands, and the parts of a saved context (TPMS_CONTEXT) that
//! are not encrypted.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::objects::ObjectId;
use crate::wire::{CommandCode, Header, tag};

/// A command of the engine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnCommand {
    SaveObject(ObjectId),
    LoadObject(ObjectId),
    FlushObject(ObjectId),
    SaveSession(u32),
    LoadSession(u32),
    FlushSession(u32),
    /// Flushes a handle that belongs to no client.
    FlushStray(u32),
    /// Asks for the handles of a kind, from this one on.
    List(u32),
    /// Asks for the sizes of the TPM.
    Properties,
    /// Asks how often the TPM was reset.
    Clock,
}

/// The first handle of each range that GetCapability lists.
pub(super) const TRANSIENT: u32 = 0x8000_0000;
pub(super) const LOADED_SESSIONS: u32 = 0x0200_0000;
pub(super) const SAVED_SESSIONS: u32 = 0x0300_0000;

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

/// Writes a command without sessions.
fn write(into: &mut Vec<u8>, code: CommandCode, words: &[u32], tail: &[u8]) {
    let header = Header {
        tag: tag::NO_SESSIONS,
        size: (Header::SIZE + 4 * words.len() + tail.len()) as u32,
        code: code.0,
    };
    into.clear();
    into.extend_from_slice(&header.to_bytes());
    for word in words {
        into.extend_from_slice(&word.to_be_bytes());
    }
    into.extend_from_slice(tail);
}

/// Writes ContextSave of a handle of the TPM's.
pub(super) fn save(into: &mut Vec<u8>, handle: u32) {
    write(into, CommandCode::CONTEXT_SAVE, &[handle], &[]);
}

/// Writes ContextLoad of a context.
pub(super) fn load(into: &mut Vec<u8>, context: &[u8]) {
    write(into, CommandCode::CONTEXT_LOAD, &[], context);
}

/// Writes FlushContext of a handle of the TPM's.
pub(super) fn flush(into: &mut Vec<u8>, handle: u32) {
    write(into, CommandCode::FLUSH_CONTEXT, &[handle], &[]);
}

/// Writes ReadClock.
pub(super) fn clock(into: &mut Vec<u8>) {
    write(into, CommandCode::READ_CLOCK, &[], &[]);
}

/// Returns how long the TPM has run since its last reset, from the body of a
/// response to ReadClock, which begins with that time in milliseconds.
pub(super) fn time_of(body: &[u8]) -> Duration {
    Duration::from_millis(order_of(body))
}

/// Returns the TPM's count of resets from the body of a response to ReadClock,
/// where it follows time and clock.
pub(super) fn resets_of(body: &[u8]) -> Option<u32> {
    word(body, 16)
}

/// Writes GetCapability.
pub(super) fn capability(into: &mut Vec<u8>, capability: u32, first: u32, count: u32) {
    write(
        into,
        CommandCode::GET_CAPABILITY,
        &[capability, first, count],
        &[],
    );
}
