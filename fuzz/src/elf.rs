// SPDX-License-Identifier: BSD-2-Clause
//! The file of a library, which libtpms's copies are made of.

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
