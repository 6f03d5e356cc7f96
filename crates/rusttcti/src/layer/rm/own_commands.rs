// SPDX-License-Identifier: BSD-2-Clause
//! The engine's own commands.

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
    let time = body
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Duration::from_millis(time)
}

/// Returns the TPM's count of resets from the body of a response to ReadClock,
/// where it follows time and clock.
pub(super) fn resets_of(body: &[u8]) -> Option<u32> {
    body.get(16..)?
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
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
