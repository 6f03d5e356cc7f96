// SPDX-License-Identifier: BSD-2-Clause
//! Writes the fields of commands and responses, big-endian.

#![forbid(unsafe_code)]

/// Appends fields. Reserve room first: a vector that grows leaves a copy of a
/// secret behind.
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

/// Returns the content of the TPM2B at the beginning of parameters.
pub(super) fn first_sized(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (size, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size)))
}
