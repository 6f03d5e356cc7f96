// SPDX-License-Identifier: BSD-2-Clause
//! To be written.
use crate::{ErrorKind, Module, Result, Tcti};
use std::{ffi::CStr, time::Duration};

/// To be written.
pub struct Cmd(());

impl Module for Cmd {
    const NAME: &'static CStr = c"cmd";
    const DESCRIPTION: &'static CStr = c"";
    const CONFIG_HELP: &'static CStr = c"";

    fn init(_conf: Option<&str>) -> Result<Self> {
        Err(ErrorKind::NotImplemented.into())
    }
}

impl Tcti for Cmd {
    fn transmit(&mut self, _command: &[u8]) -> Result<()> {
        Err(ErrorKind::NotImplemented.into())
    }

    fn receive(&mut self, _response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        Err(ErrorKind::NotImplemented.into())
    }
}
