// SPDX-License-Identifier: BSD-2-Clause
//! The parser of libtpms's ELF file, which is read to make copies of the library.

#![forbid(unsafe_code)]

use rusttcti::fuzzing::elf;

pub(crate) fn run(file: &[u8]) {
    let Some((segments, soname)) = elf(file) else {
        return;
    };
    assert!(file.starts_with(b"\x7fELF\x02"));
    assert!(!segments.is_empty(), "the strings are in one of them");
    // What copy.rs does with them.
    let _ = file.get(usize::try_from(soname).expect("64 bits"));
}
