// SPDX-License-Identifier: BSD-2-Clause
//! The bytes of a state file.
//!
//! ```text
//! u32 length   permanent state   u32 length   volatile state   [trailer]
//! trailer: "RUSTTCTI"   u32 condition   u32 CRC-32 of all before it
//! ```
//!
//! All numbers are big-endian. Without the trailer it is tpm2-tss's format. tpm2-tss
//! reads no byte after the volatile state. Its files have no trailer, and zeros at the
//! end after a crash. So a file that has lost exactly its trailer is read as a file of
//! tpm2-tss, without a check of the CRC.

#![forbid(unsafe_code)]

use super::digest::{crc32, sha1};

const MAGIC: &[u8; 8] = b"RUSTTCTI";
const TRAILER: usize = 16;

/// The condition of the TPM when its state was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The volatile state is of the same moment, and the TPM goes on from it.
    Suspended = 0,
    /// The TPM was running, so the next reader starts it after a power loss. The
    /// volatile state is that of a TPM before TPM2_Startup, for tpm2-tss to read.
    PoweredOff = 1,
}

/// A state, as it is stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State<'a> {
    pub(super) permanent: &'a [u8],
    pub(super) volatile: &'a [u8],
    pub(super) condition: Condition,
}

impl<'a> State<'a> {
    /// Returns whether a TPM goes on from the volatile state.
    pub(super) fn is_resumable(self) -> bool {
        self.condition == Condition::Suspended && !self.volatile.is_empty()
    }

    /// Returns whether these bytes end with our trailer.
    pub(super) fn has_trailer(bytes: &[u8]) -> bool {
        let trailer = bytes.last_chunk::<TRAILER>();
        trailer.is_some_and(|trailer| trailer.starts_with(MAGIC))
    }

    /// Returns the bytes of a file.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(8 + self.permanent.len() + self.volatile.len() + TRAILER);
        for part in [self.permanent, self.volatile] {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.condition as u32).to_be_bytes());
        bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
        bytes
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("it is empty".to_owned());
        }
        let (permanent, rest) = part("permanent", bytes)?;
        if permanent.is_empty() {
            return Err("its permanent state is empty".to_owned());
        }
        let (volatile, rest) = part("volatile", rest)?;
        let condition = match rest.split_first_chunk::<TRAILER>() {
            Some((trailer, rest)) if trailer.starts_with(MAGIC) => {
                zeros_only(rest)?;
                let end = bytes.len() - rest.len();
                read_trailer(trailer, &bytes[..end - 4], end - TRAILER)?
            }
            _ => {
                zeros_only(rest)?;
                // If a bit of a length is flipped, the part includes the trailer.
                if Self::has_trailer(bytes) {
                    return Err("its lengths and its trailer disagree".to_owned());
                }
                Condition::Suspended
            }
        };
        let state = Self {
            permanent,
            volatile,
            condition,
        };
        if state.is_resumable() {
            check_volatile(volatile)?;
        }
        Ok(state)
    }
}

/// Returns a part of the state, and the bytes after it.
fn part<'a>(name: &str, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), String> {
    let cut = |needed: usize| {
        format!(
            "it is cut short: its {name} state needs {needed} bytes, {} are there",
            bytes.len()
        )
    };
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| cut(4))?;
    let length = u32::from_be_bytes(*length) as usize;
    rest.split_at_checked(length)
        .ok_or_else(|| cut(length.saturating_add(4)))
}

fn zeros_only(rest: &[u8]) -> Result<(), String> {
    if rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(format!(
        "{} unknown bytes follow the volatile state",
        rest.len()
    ))
}

/// Reads the trailer. Its checksum covers `checked`; a file of tpm2-tss would end at
/// `end`.
fn read_trailer(trailer: &[u8; TRAILER], checked: &[u8], end: usize) -> Result<Condition, String> {
    let number = |at: usize| {
        trailer[at..at + 4]
            .iter()
            .fold(0, |n, b| n << 8 | u32::from(*b))
    };
    let (condition, stored, found) = (number(8), number(12), crc32(checked));
    if stored != found {
        return Err(format!(
            "its checksum is {found:08x} and should be {stored:08x}: bytes in it were changed \
             (if tpm2-tss wrote it last, and crashed, `truncate -s {end}` removes our old \
             checksum)"
        ));
    }
    match condition {
        0 => Ok(Condition::Suspended),
        1 => Ok(Condition::PoweredOff),
        other => Err(format!(
            "its condition {other} is unknown to this version (it knows 0 and 1)"
        )),
    }
}

/// The first bytes of a volatile state of libtpms, after its version.
const VOLATILE_MAGIC: [u8; 4] = 0x4563_7889_u32.to_be_bytes();
/// The last version of libtpms's volatile format that is known to end with a
/// SHA-1 digest.
const VOLATILE_VERSION: u16 = 4;

/// Checks that a volatile state is as libtpms wrote it. libtpms itself checks this only
/// after it has read the state, and reading a damaged state can end the whole process.
fn check_volatile(volatile: &[u8]) -> Result<(), String> {
    let known = match volatile {
        [v1, v0, rest @ ..] => {
            u16::from_be_bytes([*v1, *v0]) <= VOLATILE_VERSION && rest.starts_with(&VOLATILE_MAGIC)
        }
        _ => false,
    };
    let damaged = || "its volatile state is damaged: its digest does not match".to_owned();
    if !known {
        return Ok(());
    }
    let (state, digest) = volatile.split_last_chunk::<20>().ok_or_else(damaged)?;
    if sha1(state) == *digest {
        Ok(())
    } else {
        Err(damaged())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: State<'static> = State {
        permanent: b"permanent",
        volatile: b"volatile state",
        condition: Condition::PoweredOff,
    };

    #[test]
    fn a_file_of_ours_without_its_trailer_is_one_of_tpm2_tss() {
        let bytes = EXAMPLE.to_bytes();
        let theirs = &bytes[..bytes.len() - TRAILER];
        let expected = State {
            condition: Condition::Suspended,
            ..EXAMPLE
        };
        assert_eq!(State::parse(theirs), Ok(expected));
        let padded = [theirs, &[0; 2048]].concat();
        assert_eq!(State::parse(&padded), Ok(expected));
    }

    #[test]
    fn no_cut_file_is_read_as_a_whole_one() {
        let bytes = EXAMPLE.to_bytes();
        for length in 0..bytes.len() {
            // A file without its trailer has tpm2-tss's format.
            let whole = length == bytes.len() - TRAILER;
            assert_eq!(State::parse(&bytes[..length]).is_ok(), whole, "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_file_of_ours_is_noticed() {
        let mut bytes = EXAMPLE.to_bytes();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(State::parse(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(State::parse(&bytes), Ok(EXAMPLE));
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..600)
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            permanent in prop::collection::vec(any::<u8>(), 1..600),
            volatile in bytes(),
            suspended: bool,
            padding in 0..3000_usize,
        ) {
            let condition =
                if suspended { Condition::Suspended } else { Condition::PoweredOff };
            let state = State { permanent: &permanent, volatile: &volatile, condition };
            let mut bytes = state.to_bytes();
            bytes.resize(bytes.len() + padding, 0);
            prop_assert_eq!(State::parse(&bytes), Ok(state));
        }

        #[test]
        fn any_bytes_are_read_or_refused_with_a_reason(bytes in bytes()) {
            match State::parse(&bytes) {
                Ok(state) => prop_assert!(!state.permanent.is_empty()),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }
    }
}
