// SPDX-License-Identifier: BSD-2-Clause
//! Reading and writing the fields of commands and responses, big-endian.

#![forbid(unsafe_code)]

/// Reads fields from the front of a slice; each is `None` where bytes lack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// Reads the content of a TPM2B.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let size = self.u16()?;
        self.bytes(usize::from(size))
    }

    /// True where nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends fields. Room is reserved once, so that no copy of a secret is left
/// behind by a vector that grew.
pub(super) trait Put {
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    /// Appends a TPM2B.
    fn put_sized(&mut self, bytes: &[u8]);
}

impl Put for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_sized(&mut self, bytes: &[u8]) {
        let size = u16::try_from(bytes.len()).expect("a TPM2B of under 64 KiB");
        self.put_u16(size);
        self.extend_from_slice(bytes);
    }
}

/// Returns the content of the TPM2B that parameters begin with.
pub(super) fn first_sized(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (size, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size)))
}
