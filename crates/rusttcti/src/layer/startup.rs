// SPDX-License-Identifier: BSD-2-Clause
//! Starts the TPM when it is opened: `startup:CHILD`.
//!
//! It sends `TPM2_Startup(TPM_SU_CLEAR)`, which firmware does on real hardware
//! and a simulator waits for. A TPM that is running already answers
//! `TPM_RC_INITIALIZE`, which is no error here.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::opening::close_after;
use super::own_commands::run;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::wire::{CommandBuilder, Header, ResponseCode, startup_type};
use crate::{Error, ErrorKind, Result, Tcti};

/// Its options: none.
pub(crate) const SETTINGS: &[Setting] = &[];

/// How long a TPM may take to start: its self-tests may come first.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads its options: none. Nothing of the layer stays after it was opened.
pub(crate) fn parse(_options: &mut Options) -> Result<OpenLayer> {
    Ok(Box::new(|mut below: Box<dyn Tcti>| {
        match start(&mut *below) {
            Ok(()) => Ok(below),
            Err(error) => Err(close_after("startup", below, error)),
        }
    }))
}

/// Sends `TPM2_Startup(TPM_SU_CLEAR)`. A TPM that was started before is left as
/// it is.
///
/// ```
/// use rusttcti::layer::startup;
/// use rusttcti::transport::libtpms::{Libtpms, Startup};
///
/// let mut tpm = Libtpms::builder().startup(Startup::None).open()?;
/// startup::start(&mut tpm)?;
/// startup::start(&mut tpm)?; // it is running: nothing happens
/// # Ok::<(), rusttcti::Error>(())
/// ```
///
/// # Errors
/// The transport's, and [`ErrorKind::GeneralFailure`] for a response code that
/// says that the TPM did not start.
pub fn start(tcti: &mut dyn Tcti) -> Result<()> {
    let command = CommandBuilder::startup(startup_type::CLEAR).build();
    let response = run("startup", tcti, &command, PATIENCE)
        .map_err(|error| error.context("the layer startup cannot start the TPM"))?;
    let code = Header::parse(&response).map_or(0, |header| header.code);
    match ResponseCode(code) {
        // The second is a TPM that was started before.
        ResponseCode(0) | ResponseCode::INITIALIZE => Ok(()),
        code => Err(Error::new(
            ErrorKind::GeneralFailure,
            format!("the layer startup: TPM2_Startup(CLEAR) failed with {code:#}"),
        )),
    }
}
