// SPDX-License-Identifier: BSD-2-Clause
//! As much of a shared library's file format (ELF) as copying one takes.

#![forbid(unsafe_code)]

/// `PT_LOAD`, `PT_DYNAMIC`, and a segment's flag for "may be written".
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const WRITABLE: u32 = 2;
/// `DT_STRTAB` and `DT_SONAME`.
const STRING_TABLE: u64 = 5;
const SONAME: u64 = 14;

/// A part of the file that is loaded to memory, `address` being relative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) size: u64,
}

impl Segment {
    /// True where the loader leaves all bytes as they are in the file.
    pub(super) fn is_constant(self) -> bool {
        self.flags & WRITABLE == 0
    }

    pub(super) fn holds(self, offset: u64) -> bool {
        (self.offset..self.offset.saturating_add(self.size)).contains(&offset)
    }
}

/// What a library's file says of itself.
#[derive(Debug)]
pub(super) struct Elf {
    pub(super) segments: Vec<Segment>,
    /// Where the library's name for other libraries begins.
    pub(super) soname: u64,
}

impl Elf {
    /// Reads a 64-bit library of this machine; `None` for any other file.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let native = if cfg!(target_endian = "little") { 1 } else { 2 };
        if !file.starts_with(b"\x7fELF\x02") || file.get(5) != Some(&native) {
            return None;
        }
        let table = number(file, 32)?;
        let (size, count) = (half(file, 54)?, half(file, 56)?);
        let headers = (0..count).map(|at| table.checked_add(at * size));
        let mut segments = Vec::new();
        let mut dynamic = None;
        for header in headers {
            let header = from(file, header?)?;
            let segment = Segment {
                flags: word(header, 4)?,
                offset: number(header, 8)?,
                address: number(header, 16)?,
                size: number(header, 32)?,
            };
            match word(header, 0)? {
                LOAD => segments.push(segment),
                DYNAMIC => dynamic = Some(segment),
                _ => {}
            }
        }
        let dynamic = dynamic?;
        // As much of it as there is, whatever its size is said to be.
        let table = from(file, dynamic.offset)?;
        let size = usize::try_from(dynamic.size).ok()?.min(table.len());
        let entry = |tag| {
            let mut entries = table[..size].chunks_exact(16);
            let found = entries.find(|entry| number(entry, 0) == Some(tag));
            found.and_then(|entry| number(entry, 8))
        };
        let strings = entry(STRING_TABLE)?;
        let holder = segments
            .iter()
            .find(|s| (s.address..s.address.saturating_add(s.size)).contains(&strings))?;
        let strings = (strings - holder.address).checked_add(holder.offset)?;
        let soname = strings.checked_add(entry(SONAME)?)?;
        Some(Self { segments, soname })
    }
}

/// The file from there on.
fn from(file: &[u8], at: u64) -> Option<&[u8]> {
    file.get(usize::try_from(at).ok()?..)
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

fn number(file: &[u8], at: u64) -> Option<u64> {
    bytes(file, at).map(u64::from_ne_bytes)
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
        let elf = Elf::parse(&file).expect("a library of this machine");
        assert!(file[elf.soname as usize..].starts_with(b"libc.so.6\0"));
        assert!(elf.segments.iter().any(|segment| segment.is_constant()));
        assert!(elf.segments.iter().any(|segment| segment.holds(elf.soname)));
    }

    /// A file of two segments, the dynamic one as it is said to be.
    fn library(dynamic_offset: u64, dynamic_size: u64, address: u64, soname: u64) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[5] = if cfg!(target_endian = "little") { 1 } else { 2 };
        file[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        file[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        file[56..58].copy_from_slice(&2_u16.to_ne_bytes());
        for (kind, offset, address, size) in [
            (LOAD, 0, 0x1000, 300),
            (DYNAMIC, dynamic_offset, 0, dynamic_size),
        ] {
            file.extend(kind.to_ne_bytes());
            file.extend(0_u32.to_ne_bytes());
            for number in [offset, address, address, size, size, 1_u64] {
                file.extend(number.to_ne_bytes());
            }
        }
        for number in [STRING_TABLE, address, SONAME, soname] {
            file.extend(number.to_ne_bytes());
        }
        file
    }

    #[test]
    fn a_dynamic_section_is_read_to_the_file_s_end_and_no_further() {
        let whole = Elf::parse(&library(176, 32, 0x1010, 5)).expect("a library");
        assert_eq!(whole.soname, 0x15);
        // Found by the fuzzer: it read on for as long as that size.
        let long = Elf::parse(&library(176, u64::MAX, 0x1010, 5)).expect("the same");
        assert_eq!(long.soname, 0x15);
        assert!(Elf::parse(&library(192, u64::MAX, 0x1010, 5)).is_none());
        assert!(Elf::parse(&library(u64::MAX, u64::MAX, 0x1010, 5)).is_none());
        assert!(Elf::parse(&library(176, 32, 0x1010, u64::MAX)).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_be_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let library = [b"\x7fELF\x02\x01", &bytes[..]].concat();
            let _ = Elf::parse(&library);
            prop_assert!(Elf::parse(&bytes).is_none() || bytes.starts_with(b"\x7fELF"));
        }
    }
}
