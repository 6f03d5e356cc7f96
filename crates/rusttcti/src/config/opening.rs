// SPDX-License-Identifier: BSD-2-Clause
//! The way from a parsed configuration to an open transport or layer: mistakes are
//! reported before anything is opened.

#![forbid(unsafe_code)]

use crate::{Module, Result, Tcti};

/// Opens a transport whose configuration was parsed.
pub(crate) type OpenTransport = Box<dyn Fn() -> Result<Box<dyn Tcti>> + Send + Sync>;
/// Puts a layer whose options were parsed onto the `Tcti` below it.
pub(crate) type OpenLayer = Box<dyn Fn(Box<dyn Tcti>) -> Result<Box<dyn Tcti>> + Send + Sync>;

/// A transport whose CONF is parsed before it is opened.
pub(crate) trait Configured: Module {
    /// The parsed CONF.
    type Config: Send + Sync + 'static;

    /// Parses CONF, without opening anything.
    fn parse(conf: Option<&str>) -> Result<Self::Config>;

    /// Opens the transport that `config` describes.
    fn open(config: &Self::Config) -> Result<Self>;
}

/// Parses the CONF of `T`, for a chain to open it later.
pub(crate) fn parsed<T: Configured>(conf: Option<&str>) -> Result<OpenTransport> {
    let config = T::parse(conf)?;
    Ok(Box::new(move || Ok(Box::new(T::open(&config)?))))
}
