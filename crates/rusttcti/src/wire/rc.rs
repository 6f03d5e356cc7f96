// SPDX-License-Identifier: BSD-2-Clause
//! Response codes.

#![forbid(unsafe_code)]

/// A response code (`TPM_RC`; Part 2, section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResponseCode(pub u32);

impl ResponseCode {
    /// The command succeeded.
    pub const SUCCESS: Self = Self(0);
    /// The TPM failed, and runs no commands until it is reset.
    pub const FAILURE: Self = Self(0x101);
}

impl From<u32> for ResponseCode {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<ResponseCode> for u32 {
    fn from(code: ResponseCode) -> Self {
        code.0
    }
}
