// SPDX-License-Identifier: BSD-2-Clause
//! The kind of a file that is not a state file, for messages.

#![forbid(unsafe_code)]

/// The magic number of libtpms's permanent state, behind the state's length and version.
const PERMANENT_MAGIC: [u8; 4] = 0xab36_4723_u32.to_be_bytes();
const MAGIC_AT: usize = 6;
/// The first bytes of other files that lie beside a TPM's state.
const KNOWN: [(&[u8], &str); 5] = [
    (
        b"\x0a\x0d\x0d\x0a",
        "a recording of the layer pcap (replay:FILE answers from it)",
    ),
    (b"\xba\xdc\xc0\xde", "a saved context of tpm2-tools"),
    (b"SQLite format 3\0", "a database of SQLite"),
    (b"\x7fELF", "a program or library"),
    (b"\x1f\x8b", "compressed by gzip (decompress it by gunzip)"),
];
/// How many bytes of a file are examined for text.
const SAMPLE: usize = 1024;

/// Returns a text that says what these bytes are; `None` if they begin as a state does,
/// or are too few to tell.
pub(super) fn of(bytes: &[u8]) -> Option<String> {
    let magic = bytes.get(MAGIC_AT..)?.first_chunk::<4>()?;
    if *magic == PERMANENT_MAGIC {
        return None;
    }
    if let Some((_, kind)) = KNOWN.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(format!("it is {kind}"));
    }
    if is_swtpm_s(bytes) {
        return Some("it is swtpm's state file, and is cut short or changed".to_owned());
    }
    if is_text(&bytes[..bytes.len().min(SAMPLE)]) {
        return Some("it is a text file".to_owned());
    }
    let start: Vec<String> = bytes.iter().take(10).map(|b| format!("{b:02x}")).collect();
    Some(format!(
        "it is not a TPM's state: it begins with {}, and a state has ab 36 47 23 in place of the \
         last four of these bytes",
        start.join(" ")
    ))
}

/// Returns whether the bytes begin as swtpm's tpm2-00.permall does, whose length may be
/// wrong.
fn is_swtpm_s(bytes: &[u8]) -> bool {
    matches!(bytes, [version @ 1..=9, least @ 1..=9, 0, 10, 0, ..] if least <= version)
}

/// Returns whether these are printable characters or spaces; the last one may be cut.
fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_written = |c: char| !c.is_control() || c.is_ascii_whitespace();
    !text.is_empty() && text.chars().all(is_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_its_kind_and_what_may_be_a_state_is_not() {
        let told = |bytes: &[u8]| of(bytes).unwrap_or_default();
        assert_eq!(told(b"#!/bin/sh\necho by mistake\n"), "it is a text file");
        assert_eq!(told("größe und länge".as_bytes()), "it is a text file");
        assert!(told(b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c").contains("replay:FILE"));
        assert!(told(&[2, 1, 0, 10, 0, 0, 0, 0, 9, 9, 0, 1]).contains("swtpm's state file"));
        let random = [0x8f, 1, 2, 3, 4, 5, 6, 7, 8, 0x99, 0xaa];
        assert!(told(&random).contains("it begins with 8f 01 02 03 04 05 06 07 08 99, "));
        for few in 0..10 {
            assert_eq!(of(&random[..few]), None, "{few}");
        }
        let state = [0, 0, 7, 0, 0, 3, 0xab, 0x36, 0x47, 0x23, 1];
        assert_eq!(of(&state), None);
    }
}
