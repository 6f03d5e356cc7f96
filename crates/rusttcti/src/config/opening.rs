// SPDX-License-Identifier: BSD-2-Clause
//! From a configuration that was read to an open transport or layer: mistakes
//! are told before anything is opened.

#![forbid(unsafe_code)]

use crate::{Module, Result, Tcti};

/// Opens a transport whose configuration was read.
pub(crate) type OpenTransport = Box<dyn Fn() -> Result<Box<dyn Tcti>> + Send + Sync>;
/// Puts a layer whose options were read on what is below it.
pub(crate) type OpenLayer = Box<dyn Fn(Box<dyn Tcti>) -> Result<Box<dyn Tcti>> + Send + Sync>;

/// A transport whose CONF is read before it is opened.
pub(crate) trait Configured: Module {
    /// What CONF says.
    type Config: Send + Sync + 'static;

    /// Reads CONF, and opens nothing.
    fn parse(conf: Option<&str>) -> Result<Self::Config>;

    /// Opens what was read.
    fn open(config: &Self::Config) -> Result<Self>;
}

/// Reads the CONF of `T`, for a chain to open it later.
pub(crate) fn parsed<T: Configured>(conf: Option<&str>) -> Result<OpenTransport> {
    let config = T::parse(conf)?;
    Ok(Box::new(move || Ok(Box::new(T::open(&config)?))))
}
