// SPDX-License-Identifier: BSD-2-Clause
//! A running TPM, as the contexts on it share it.

#![forbid(unsafe_code)]

use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Core;
use crate::{Error, ErrorKind, Result};

/// A TPM that several contexts may use.
pub(super) struct Tpm {
    /// None once it is closed.
    core: Mutex<Option<Core>>,
}

impl Tpm {
    pub(super) fn new(core: Core) -> Self {
        Self {
            core: Mutex::new(Some(core)),
        }
    }

    /// Calls the TPM, when no other context does.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
        match &mut *self.core.lock() {
            Some(core) => call(core),
            None => Err(Error::new(ErrorKind::BadSequence, "the TPM was closed")),
        }
    }

    /// Stores the state and powers the TPM off.
    pub(super) fn close(self: Arc<Self>) -> Result<()> {
        match self.core.lock().take() {
            Some(core) => core.suspend(),
            None => Ok(()),
        }
    }
}
