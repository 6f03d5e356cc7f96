// SPDX-License-Identifier: BSD-2-Clause
//! swtpm's own state file, `tpm2-00.permall`, as a template.
//!
//! ```text
//! u8 version   u8 version that a reader must know   u16 header size   u16 flags   u32 file size
//! then records: u16 kind   u32 length   data
//! ```
//!
//! All numbers are big-endian. In a file that is not encrypted (no flags) the
//! record of the kind 1 is libtpms's permanent state, as it is in our files too.
//! There is no volatile state in it: a TPM that starts from it was powered off.

#![forbid(unsafe_code)]

/// The version of the format that is read here.
const VERSION: u8 = 2;
const HEADER: usize = 10;
/// The kind of the record with the permanent state.
const PERMANENT: u16 = 1;
/// The flag of a file that is encrypted: by `--key`, or by `--migration-key` in a
/// blob for migration.
const ENCRYPTED: u16 = 0x0001 | 0x0002;

/// Returns libtpms's permanent state in the bytes of swtpm's state file; `None` if they
/// are not such a file.
///
/// # Errors
/// A sentence that names the format, says why it cannot be read, and what to do.
pub(super) fn permanent_state(bytes: &[u8]) -> Option<Result<&[u8], String>> {
    let (header, records) = bytes.split_first_chunk::<HEADER>()?;
    let [version, least, h1, h0, f1, f0, s3, s2, s1, s0] = *header;
    let size = u32::from_be_bytes([s3, s2, s1, s0]) as usize;
    // Our files begin with the length of the permanent state, which is never this
    // number.
    let is_swtpm_s = [h1, h0] == (HEADER as u16).to_be_bytes()
        && size == bytes.len()
        && (1..=version).contains(&least);
    is_swtpm_s.then(|| read(least, u16::from_be_bytes([f1, f0]), records))
}

fn read(least: u8, flags: u16, records: &[u8]) -> Result<&[u8], String> {
    const FORMAT: &str = "it is swtpm's state file";
    if flags & ENCRYPTED != 0 {
        return Err(format!(
            "{FORMAT}, and encrypted: only swtpm, started with its --key or --migration-key, \
             reads it (start a swtpm without a key on a new folder for a template, or use this \
             one as rusttcti:swtpm)"
        ));
    }
    if least > VERSION || flags != 0 {
        return Err(format!(
            "{FORMAT}, in a format that this version does not know (format {least}, flags \
             0x{flags:x}; format {VERSION} without flags is known)"
        ));
    }
    match record(records, PERMANENT) {
        Some(state) if !state.is_empty() => Ok(state),
        _ => Err(format!(
            "{FORMAT}, and has no permanent state of a TPM 2.0 in it, or is cut short"
        )),
    }
}

/// Returns the data of the first record of a kind.
fn record(mut records: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (head, rest) = records.split_first_chunk::<6>()?;
        let [k1, k0, l3, l2, l1, l0] = *head;
        let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        let (data, rest) = rest.split_at_checked(length)?;
        if u16::from_be_bytes([k1, k0]) == wanted {
            return Some(data);
        }
        records = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with these flags and records.
    fn file(flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 0, 10];
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0; 4]);
        for (kind, data) in records {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(*data);
        }
        let size = bytes.len() as u32;
        bytes[6..10].copy_from_slice(&size.to_be_bytes());
        bytes
    }

    #[test]
    fn the_permanent_state_is_found_behind_other_records() {
        let bytes = file(0, &[(7, b"else"), (1, b"state")]);
        assert_eq!(permanent_state(&bytes), Some(Ok(&b"state"[..])));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_a_remedy() {
        let told = |bytes: &[u8]| permanent_state(bytes).expect("swtpm's").expect_err("no");
        assert!(told(&file(1, &[(2, b"x")])).contains("without a key"));
        assert!(told(&file(0x80, &[(1, b"x")])).contains("flags 0x80"));
        assert!(told(&file(0, &[(3, b"x")])).contains("no permanent state"));
        let mut newer = file(0, &[(1, b"x")]);
        newer[..2].copy_from_slice(&[9, 9]);
        assert!(told(&newer).contains("format 9"));
    }

    #[test]
    fn a_file_of_ours_is_not_taken_for_one_of_swtpm_s() {
        let state = super::super::state::State {
            permanent: &[7; 2000],
            volatile: &[8; 1000],
            condition: super::super::state::Condition::Suspended,
        };
        assert_eq!(permanent_state(&state.to_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = permanent_state(&bytes);
            let mut records = file(0, &[]);
            records.extend(&bytes);
            let size = records.len() as u32;
            records[6..10].copy_from_slice(&size.to_be_bytes());
            prop_assert!(permanent_state(&records).is_some());
        }
    }
}
