// SPDX-License-Identifier: BSD-2-Clause
//! Responses to GetCapability, read for the engine and written for clients.

#![forbid(unsafe_code)]

use crate::wire::{Header, capability, tag};

/// The most handles in one response (MAX_CAP_HANDLES).
pub(super) const MOST_HANDLES: u32 = 254;

/// The offset of a response's list: behind header, moreData and capability.
const LIST: usize = Header::SIZE + 5;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the handles of a response to GetCapability(HANDLES).
pub(super) fn handles(response: &[u8]) -> impl Iterator<Item = u32> + Clone + '_ {
    let count = word(response, LIST).unwrap_or(0) as usize;
    let words = response.get(LIST + 4..).unwrap_or_default().chunks_exact(4);
    words
        .take(count)
        .filter_map(|word| Some(u32::from_be_bytes(word.try_into().ok()?)))
}

/// Returns the properties of a response to GetCapability(TPM_PROPERTIES).
pub(super) fn properties(response: &[u8]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let count = word(response, LIST).unwrap_or(0) as usize;
    let pairs = response.get(LIST + 4..).unwrap_or_default().chunks_exact(8);
    pairs
        .take(count)
        .filter_map(|pair| Some((word(pair, 0)?, word(pair, 4)?)))
}

/// Changes the properties in a response to GetCapability(TPM_PROPERTIES).
pub(super) fn rewrite_properties(response: &mut [u8], change: impl Fn(u32, u32) -> u32) {
    if word(response, Header::SIZE + 1) != Some(capability::TPM_PROPERTIES) {
        return;
    }
    let count = word(response, LIST).unwrap_or(0) as usize;
    let pairs = response
        .get_mut(LIST + 4..)
        .unwrap_or_default()
        .chunks_exact_mut(8);
    for pair in pairs.take(count) {
        if let (Some(property), Some(value)) = (word(pair, 0), word(pair, 4)) {
            pair[4..].copy_from_slice(&change(property, value).to_be_bytes());
        }
    }
}

/// Writes the response of a TPM that has these handles, at most `count` of them.
pub(super) fn write_handles(into: &mut Vec<u8>, sorted: &[u32], count: u32) {
    let count = count.min(MOST_HANDLES) as usize;
    let listed = &sorted[..sorted.len().min(count)];
    let header = Header {
        tag: tag::NO_SESSIONS,
        size: (LIST + 4 + 4 * listed.len()) as u32,
        code: 0,
    };
    into.clear();
    into.extend_from_slice(&header.to_bytes());
    into.push(u8::from(listed.len() < sorted.len()));
    into.extend_from_slice(&capability::HANDLES.to_be_bytes());
    into.extend_from_slice(&(listed.len() as u32).to_be_bytes());
    for handle in listed {
        into.extend_from_slice(&handle.to_be_bytes());
    }
}
