// SPDX-License-Identifier: BSD-2-Clause
//! Power-cycles the TPM when it is opened: `reset:CHILD`.
//!
//! The permanent state of the TPM stays; PCRs, loaded objects and sessions are lost, as
//! by [`Tcti::reset`]. From a shell, on an embedded TPM: `tpm2_pcrread -T
//! rusttcti:reset:libtpms:my.tpm`.
//!
//! The transport libtpms then starts the TPM. A simulator is not started:
//! `startup:reset:CHILD` starts it.

#![forbid(unsafe_code)]

use super::opening::close_after;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::{Result, Tcti};

/// Its options: none.
pub(crate) const SETTINGS: &[Setting] = &[];

/// Reads its options: none. Nothing of the layer stays after it was opened.
pub(crate) fn parse(_options: &mut Options) -> Result<OpenLayer> {
    Ok(Box::new(|mut below: Box<dyn Tcti>| match below.reset() {
        Ok(()) => Ok(below),
        Err(error) => {
            let error = error.context("the layer reset cannot power-cycle the TPM");
            Err(close_after("reset", below, error))
        }
    }))
}
