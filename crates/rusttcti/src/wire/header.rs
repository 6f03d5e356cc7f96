// SPDX-License-Identifier: BSD-2-Clause
//! The ten bytes at the head of every TPM command and response.

#![forbid(unsafe_code)]

/// The header of a TPM command or response (TPM 2.0 Library specification,
/// Part 1, section 18: tag, size and command or response code, big-endian).
///
/// ```
/// use rusttcti::wire::header::Header;
///
/// let get_random = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];
/// let header = Header::parse(&get_random).expect("ten bytes or more");
/// assert_eq!((header.tag, header.size, header.code), (0x8001, 12, 0x17b));
/// assert!(Header::fits(&get_random));
/// assert_eq!(header.to_bytes(), get_random[..Header::SIZE]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The structure tag: `TPM_ST_NO_SESSIONS` (0x8001), `TPM_ST_SESSIONS` (0x8002), …
    pub tag: u16,
    /// The size of the whole command or response in bytes, this header included.
    pub size: u32,
    /// The command code (`TPM_CC`) or the response code (`TPM_RC`).
    pub code: u32,
}

impl Header {
    /// The size of a header in bytes.
    pub const SIZE: usize = 10;

    /// Reads the header at the start of `bytes`; `None` if there are under ten.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<{ Self::SIZE }>()?;
        let [t0, t1, s0, s1, s2, s3, c0, c1, c2, c3] = *head;
        Some(Self {
            tag: u16::from_be_bytes([t0, t1]),
            size: u32::from_be_bytes([s0, s1, s2, s3]),
            code: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// Returns the header's ten bytes.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..2].copy_from_slice(&self.tag.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.size.to_be_bytes());
        bytes[6..].copy_from_slice(&self.code.to_be_bytes());
        bytes
    }

    /// Returns whether `bytes` has the length in its own header.
    pub fn fits(bytes: &[u8]) -> bool {
        Self::parse(bytes).is_some_and(|header| header.size as usize == bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_comes_back_from_its_bytes(tag: u16, size: u32, code: u32) {
            let header = Header { tag, size, code };
            prop_assert_eq!(Header::parse(&header.to_bytes()), Some(header));
        }

        #[test]
        fn any_bytes_parse_if_they_are_ten(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Header::parse(&bytes).is_some(), bytes.len() >= Header::SIZE);
            if let Some(header) = Header::parse(&bytes) {
                prop_assert_eq!(&header.to_bytes()[..], &bytes[..Header::SIZE]);
                prop_assert_eq!(Header::fits(&bytes), header.size as usize == bytes.len());
            } else {
                prop_assert!(!Header::fits(&bytes));
            }
        }
    }
}
