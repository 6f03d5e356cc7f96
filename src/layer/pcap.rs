// SPDX-License-Identifier: BSD-2-Clause
//! To be written.
use super::Options;
use crate::{ErrorKind, Result, Tcti};

pub(crate) fn open(_options: Options, _inner: Box<dyn Tcti>) -> Result<Box<dyn Tcti>> {
    Err(ErrorKind::NotImplemented.into())
}
