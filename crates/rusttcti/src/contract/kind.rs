// SPDX-License-Identifier: BSD-2-Clause
//! The kinds of failures, and the response code (TSS2_RC) of each for C.

#![forbid(unsafe_code)]

use std::fmt;

/// A TSS2 response code (`TSS2_RC`) of the TCTI layer with the given base code.
const TCTI_LAYER: u32 = 10 << 16;
/// The bits of a `TSS2_RC` that name the layer it comes from.
const LAYER_MASK: u32 = 0x00ff_0000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal $c_name:literal, $text:literal;)*) => {
        /// The kind of an [`Error`](crate::Error), after the base codes of the TSS 2.0
        /// Overview and Common Structures specification, section 3.2.
        ///
        /// ```
        /// use rusttcti::{Error, ErrorKind};
        ///
        /// let error = Error::from(ErrorKind::TryAgain); // allocates nothing
        /// assert_eq!(error.kind(), ErrorKind::TryAgain);
        /// assert_eq!(error.to_string(), "try again");
        /// assert_eq!(error.rc(), 0x000a_0009); // TSS2_TCTI_RC_TRY_AGAIN
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// All kinds, in the order of the base codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the name of the kind's response code in C, as in
            /// `TSS2_TCTI_RC_TRY_AGAIN`.
            pub const fn c_name(self) -> &'static str {
                match self { $(Self::$name => concat!("TSS2_TCTI_RC_", $c_name),)* }
            }

            /// Returns the base code (`TSS2_BASE_RC_*`) of this kind.
            const fn base_code(self) -> u32 {
                match self { $(Self::$name => $code,)* }
            }

            /// Returns the kind of a base code; [`ErrorKind::GeneralFailure`] for a
            /// code without a kind here.
            const fn from_base_code(code: u32) -> Self {
                match code { $($code => Self::$name,)* _ => Self::GeneralFailure }
            }

            pub(super) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A failure without a more specific kind; also the kind of a caught panic.
    GeneralFailure = 1 "GENERAL_FAILURE", "general failure";
    /// The transport has no such function.
    NotImplemented = 2 "NOT_IMPLEMENTED", "not implemented by this transport";
    /// The context belongs to another library or to another process.
    BadContext = 3 "BAD_CONTEXT", "bad context";
    /// The ABI versions of the caller and the module are incompatible.
    AbiMismatch = 4 "ABI_MISMATCH", "ABI mismatch";
    /// A pointer is NULL that must not be.
    BadReference = 5 "BAD_REFERENCE", "bad reference";
    /// The caller's buffer is too small; no data is lost.
    InsufficientBuffer = 6 "INSUFFICIENT_BUFFER", "insufficient buffer";
    /// The function cannot be called in the context's present state.
    BadSequence = 7 "BAD_SEQUENCE", "bad sequence";
    /// There is no connection to the TPM, or it was lost.
    NoConnection = 8 "NO_CONNECTION", "no connection to the TPM";
    /// No response has come yet; call again, no data is lost.
    TryAgain = 9 "TRY_AGAIN", "try again";
    /// Reading or writing failed.
    IoError = 10 "IO_ERROR", "I/O error";
    /// An argument has a value that is not allowed.
    BadValue = 11 "BAD_VALUE", "bad value";
    /// The operation is not permitted, here or to this user.
    NotPermitted = 12 "NOT_PERMITTED", "not permitted";
    /// The response is not a well-formed TPM response.
    MalformedResponse = 17 "MALFORMED_RESPONSE", "malformed response";
    /// The operation is known but not supported here.
    NotSupported = 21 "NOT_SUPPORTED", "not supported";
    /// There is no memory left.
    Memory = 23 "MEMORY", "out of memory";
}

impl ErrorKind {
    /// Returns whether a command stays under way after `receive` failed with this kind:
    /// its response is still awaited, `receive` may be called again, and no command can
    /// be sent. After any other kind the command counts as failed.
    ///
    /// The bridge, the layers and the tests all decide by this function.
    pub const fn leaves_command_pending(self) -> bool {
        matches!(
            self,
            Self::TryAgain | Self::InsufficientBuffer | Self::BadReference | Self::BadValue
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Returns the TCTI layer's response code of a kind.
pub(super) const fn tcti_rc(kind: ErrorKind) -> u32 {
    TCTI_LAYER | kind.base_code()
}

/// Returns the kind that fits a response code best. Codes of the TPM itself (layer 0)
/// and of its resource managers describe no failure of the transport.
pub(super) fn kind_of_rc(rc: u32) -> ErrorKind {
    if rc & LAYER_MASK == 0 {
        return ErrorKind::GeneralFailure;
    }
    ErrorKind::from_base_code(rc & 0xffff)
}
