// SPDX-License-Identifier: BSD-2-Clause
//! No TPM: the transport opens, and refuses every command. It is for programs that need
//! the name of a TCTI but never use it.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::time::Duration;

use crate::config::Configured;
use crate::config::setting::{self, Setting, Text};
use crate::{Error, ErrorKind, Module, Result, Tcti};

/// What CONF is.
pub(crate) const SETTINGS: &[Setting] = &[Setting {
    key: "",
    value: "ANYTHING",
    default: "",
    text: "Ignored.",
}];
const HELP: &Text = &setting::help(SETTINGS);

/// A transport without a TPM, as tpm2-tss's `null`.
///
/// ```
/// use rusttcti::transport::null::Null;
/// use rusttcti::{ErrorKind, Tcti};
///
/// let error = Null::default().transmit(&[]).expect_err("there is no TPM");
/// assert_eq!(error.kind(), ErrorKind::NotImplemented);
/// ```
#[derive(Debug, Default)]
pub struct Null(());

impl Module for Null {
    const NAME: &'static CStr = c"null";
    const DESCRIPTION: &'static CStr = c"no TPM: opens, and refuses every command";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(_conf: Option<&str>) -> Result<Self> {
        Ok(Self(()))
    }
}

impl Configured for Null {
    type Config = ();

    fn parse(_conf: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn open((): &()) -> Result<Self> {
        Ok(Self(()))
    }
}

impl Tcti for Null {
    fn transmit(&mut self, _command: &[u8]) -> Result<()> {
        Err(Error::new(
            ErrorKind::NotImplemented,
            "the null transport has no TPM to send this to",
        ))
    }

    fn receive(&mut self, _response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        Err(Error::new(
            ErrorKind::NotImplemented,
            "the null transport has no TPM to receive from",
        ))
    }
}
