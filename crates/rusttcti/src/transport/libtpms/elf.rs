// SPDX-License-Identifier: BSD-2-Clause
//! Reads the parts of a shared library's file format (ELF) that are needed to copy it.

#![forbid(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

/// `PT_LOAD`, `PT_DYNAMIC`, and a segment's flag for "may be written".
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const WRITABLE: u32 = 2;
/// `DT_STRTAB`, `DT_SONAME`, `DT_TEXTREL`, and `DT_FLAGS` with `DF_TEXTREL`.
const STRING_TABLE: u64 = 5;
const SONAME: u64 = 14;
const TEXT_RELOCATIONS: u64 = 22;
const FLAGS: u64 = 30;
const HAS_TEXT_RELOCATIONS: u64 = 4;

/// The offsets of the fields of one of the two formats, in bytes.
struct Layout {
    class: u8,
    /// The size of an address or offset.
    wide: u64,
    // In the file's header: the segments' table, one's size in it, their number.
    table: u64,
    segment_size: u64,
    segments: u64,
    // In a segment of that table; its kind is first.
    flags: u64,
    offset: u64,
    address: u64,
    size: u64,
}

const ELF32: Layout = Layout {
    class: 1,
    wide: 4,
    table: 28,
    segment_size: 42,
    segments: 44,
    flags: 24,
    offset: 4,
    address: 8,
    size: 16,
};

const ELF64: Layout = Layout {
    class: 2,
    wide: 8,
    table: 32,
    segment_size: 54,
    segments: 56,
    flags: 4,
    offset: 8,
    address: 16,
    size: 32,
};

const NATIVE: &Layout = if cfg!(target_pointer_width = "64") {
    &ELF64
} else {
    &ELF32
};

const ENDIAN: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };

/// A part of the file that is loaded to memory, `address` being relative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) size: u64,
}

impl Segment {
    /// Whether the loader leaves all bytes as they are in the file, in a library
    /// without [text relocations](Elf::has_text_relocations).
    pub(super) fn is_constant(self) -> bool {
        self.flags & WRITABLE == 0
    }

    pub(super) fn holds(self, offset: u64) -> bool {
        (self.offset..self.offset.saturating_add(self.size)).contains(&offset)
    }
}

/// The bytes of a library.
pub(super) trait Bytes {
    /// Reads up to `size` bytes from `at` on, and no more than [`LARGEST_TABLE`].
    /// Returns `None` if they cannot be read.
    fn read(&self, at: u64, size: u64) -> Option<Vec<u8>>;
}

/// The largest size of a table in a library that can be copied.
const LARGEST_TABLE: u64 = 1 << 20;

impl Bytes for [u8] {
    fn read(&self, at: u64, size: u64) -> Option<Vec<u8>> {
        let rest = from(self, at)?;
        let size = size.min(LARGEST_TABLE) as usize;
        Some(rest.get(..size).unwrap_or(rest).to_vec())
    }
}

impl Bytes for File {
    fn read(&self, at: u64, size: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size.min(LARGEST_TABLE) as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = at.checked_add(filled as u64)?;
            match self.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        bytes.truncate(filled);
        Some(bytes)
    }
}

/// The contents of a library's file.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) segments: Vec<Segment>,
    /// Where the library's name for other libraries begins.
    pub(super) soname: u64,
    /// Whether the loader also writes to segments that are not writable, as in some
    /// libraries for 32-bit processors.
    pub(super) has_text_relocations: bool,
}

impl Elf {
    /// Reads a library for this processor; `None` for any other file.
    pub(super) fn parse<B: Bytes + ?Sized>(file: &B) -> Option<Self> {
        Self::parse_as(NATIVE, file)
    }

    fn parse_as<B: Bytes + ?Sized>(layout: &Layout, file: &B) -> Option<Self> {
        const LARGEST_HEADER: u64 = 64;
        let header = file.read(0, LARGEST_HEADER)?;
        if !header.starts_with(b"\x7fELF") || header.get(4..6) != Some(&[layout.class, ENDIAN]) {
            return None;
        }
        let number = |bytes: &[u8], at| layout.number(bytes, at);
        let size = half(&header, layout.segment_size)?;
        let count = half(&header, layout.segments)?;
        let table = file.read(number(&header, layout.table)?, size * count)?;
        let mut segments = Vec::new();
        let mut dynamic = None;
        for at in 0..count {
            let header = from(&table, at * size)?;
            let segment = Segment {
                flags: word(header, layout.flags)?,
                offset: number(header, layout.offset)?,
                address: number(header, layout.address)?,
                size: number(header, layout.size)?,
            };
            match word(header, 0)? {
                LOAD => segments.push(segment),
                DYNAMIC => dynamic = Some(segment),
                _ => {}
            }
        }
        let dynamic = dynamic?;
        // As much of it as there is, whatever size the header names.
        let table = file.read(dynamic.offset, dynamic.size)?;
        let entry = |tag| {
            let mut entries = table.chunks_exact(2 * layout.wide as usize);
            let found = entries.find(|entry| number(entry, 0) == Some(tag));
            found.and_then(|entry| number(entry, layout.wide))
        };
        let strings = entry(STRING_TABLE)?;
        let holder = segments
            .iter()
            .find(|s| (s.address..s.address.saturating_add(s.size)).contains(&strings))?;
        let strings = (strings - holder.address).checked_add(holder.offset)?;
        let soname = strings.checked_add(entry(SONAME)?)?;
        let flags = entry(FLAGS).unwrap_or(0);
        Some(Self {
            segments,
            soname,
            has_text_relocations: entry(TEXT_RELOCATIONS).is_some()
                || flags & HAS_TEXT_RELOCATIONS != 0,
        })
    }
}

/// Returns the bytes from `at` on.
fn from(bytes: &[u8], at: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(at).ok()?..)
}

fn bytes<const N: usize>(file: &[u8], at: u64) -> Option<[u8; N]> {
    from(file, at)?.first_chunk::<N>().copied()
}

fn half(file: &[u8], at: u64) -> Option<u64> {
    bytes(file, at).map(|b| u16::from_ne_bytes(b).into())
}

fn word(file: &[u8], at: u64) -> Option<u32> {
    bytes(file, at).map(u32::from_ne_bytes)
}

impl Layout {
    /// Returns an address, an offset or a size.
    fn number(&self, file: &[u8], at: u64) -> Option<u64> {
        match self.wide {
            4 => word(file, at).map(u64::from),
            _ => bytes(file, at).map(u64::from_ne_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_program_s_own_c_library_has_a_name_and_segments() {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let path = maps
            .split_whitespace()
            .find(|word| word.contains("/libc.so.6"))
            .expect("glibc is loaded");
        let file = std::fs::read(path).expect("a library");
        let elf = Elf::parse(&file[..]).expect("a library of this machine");
        assert!(file[elf.soname as usize..].starts_with(b"libc.so.6\0"));
        assert!(elf.segments.iter().any(|segment| segment.is_constant()));
        assert!(!elf.has_text_relocations);
        assert!(elf.segments.iter().any(|segment| segment.holds(elf.soname)));
    }

    impl Layout {
        fn put(&self, file: &mut [u8], at: u64, number: u64) {
            let at = at as usize;
            match self.wide {
                4 => file[at..at + 4].copy_from_slice(&(number as u32).to_ne_bytes()),
                _ => file[at..at + 8].copy_from_slice(&number.to_ne_bytes()),
            }
        }

        /// A file of two segments and a dynamic section of two entries behind
        /// them, the section being where, and as large as, it is said to be.
        fn library(&self, dynamic: (u64, u64), address: u64, soname: u64) -> Vec<u8> {
            let header = 64;
            let mut file = vec![0; self.entries() as usize];
            file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class, ENDIAN]);
            self.put(&mut file, self.table, header);
            let halves = [(self.segment_size, SEGMENT as u16), (self.segments, 2)];
            for (at, half) in halves {
                file[at as usize..][..2].copy_from_slice(&half.to_ne_bytes());
            }
            let segments = [(LOAD, 0, 0x1000, 300), (DYNAMIC, dynamic.0, 0, dynamic.1)];
            for (index, (kind, offset, address, size)) in segments.into_iter().enumerate() {
                let segment = &mut file[header as usize + index * SEGMENT..];
                segment[..4].copy_from_slice(&kind.to_ne_bytes());
                self.put(segment, self.offset, offset);
                self.put(segment, self.address, address);
                self.put(segment, self.size, size);
            }
            for number in [STRING_TABLE, address, SONAME, soname] {
                let at = file.len() as u64;
                file.resize(file.len() + self.wide as usize, 0);
                self.put(&mut file, at, number);
            }
            file
        }

        /// Where the dynamic section begins.
        fn entries(&self) -> u64 {
            64 + 2 * SEGMENT as u64
        }
    }

    /// What each segment takes in the table, in either format.
    const SEGMENT: usize = 56;

    #[test]
    fn a_dynamic_section_is_read_to_the_file_s_end_and_no_further() {
        for layout in [&ELF32, &ELF64] {
            let (at, pair) = (layout.entries(), 2 * layout.wide);
            let read = |offset, size, address, soname| {
                let file = layout.library((offset, size), address, soname);
                Elf::parse_as(layout, &file[..]).map(|elf| elf.soname)
            };
            assert_eq!(read(at, 2 * pair, 0x1010, 5), Some(0x15));
            assert_eq!(read(at, pair, 0x1010, 5), None, "the name is cut off");
            // Found by the fuzzer: it read on for as long as that size.
            assert_eq!(read(at, u64::MAX, 0x1010, 5), Some(0x15));
            assert_eq!(read(at + pair, u64::MAX, 0x1010, 5), None);
            assert_eq!(read(u64::MAX, u64::MAX, 0x1010, 5), None);
        }
        let overflow = ELF64.library((ELF64.entries(), 32), 0x1010, u64::MAX);
        assert!(Elf::parse_as(&ELF64, &overflow[..]).is_none());
    }

    #[test]
    fn relocations_in_code_are_told_of() {
        for layout in [&ELF32, &ELF64] {
            let told = |extra: [u64; 2]| {
                let size = 6 * layout.wide;
                let mut file = layout.library((layout.entries(), size), 0x1010, 5);
                for number in extra {
                    let at = file.len() as u64;
                    file.resize(file.len() + layout.wide as usize, 0);
                    layout.put(&mut file, at, number);
                }
                let elf = Elf::parse_as(layout, &file[..]).expect("a library");
                elf.has_text_relocations
            };
            assert!(told([TEXT_RELOCATIONS, 0]));
            assert!(told([FLAGS, 0xc]));
            assert!(!told([FLAGS, 0x8]));
        }
    }

    #[test]
    fn a_library_for_other_programs_is_none_of_ours() {
        let file = |layout: &Layout| layout.library((layout.entries(), 32), 0x1010, 5);
        assert!(Elf::parse_as(&ELF64, &file(&ELF32)[..]).is_none());
        assert!(Elf::parse_as(&ELF32, &file(&ELF64)[..]).is_none());
        assert!(Elf::parse(&file(NATIVE)[..]).is_some());
        let mut other_end = file(NATIVE);
        other_end[5] ^= 3;
        assert!(Elf::parse(&other_end[..]).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_be_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            for layout in [&ELF32, &ELF64] {
                let library = [b"\x7fELF", &[layout.class, ENDIAN][..], &bytes].concat();
                let _ = Elf::parse_as(layout, &library[..]);
            }
            prop_assert!(Elf::parse(&bytes[..]).is_none() || bytes.starts_with(b"\x7fELF"));
        }
    }
}
