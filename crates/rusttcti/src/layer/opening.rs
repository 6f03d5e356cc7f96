// SPDX-License-Identifier: BSD-2-Clause
//! Closes what is below a layer that cannot be opened.

#![forbid(unsafe_code)]

use crate::{Error, Tcti};

/// Finalizes what is below a layer that cannot be opened, and returns `error`, the
/// reason. A failure of `finalize` goes to the log.
pub(in crate::layer) fn close_after(name: &str, mut below: impl Tcti, error: Error) -> Error {
    if let Err(other) = below.finalize() {
        crate::sys::log::debug!("{name}: closing what is below: {}", other.report());
    }
    error
}
