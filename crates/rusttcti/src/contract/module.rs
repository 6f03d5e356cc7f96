// SPDX-License-Identifier: BSD-2-Clause
//! A transport that has a name and is opened from a string.

#![forbid(unsafe_code)]

use std::ffi::CStr;

use crate::{Magic, Result, Tcti};

/// A transport that is opened from a configuration string, and can be a module by
/// itself (see [`export!`](crate::export)).
///
/// ```
/// use std::ffi::CStr;
/// use std::time::Duration;
///
/// use rusttcti::{Error, ErrorKind, Magic, Module, Result, Tcti};
///
/// struct Echo(Vec<u8>);
///
/// impl Tcti for Echo {
///     fn transmit(&mut self, command: &[u8]) -> Result<()> {
///         self.0 = command.to_vec();
///         Ok(())
///     }
///
///     fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
///         response[..self.0.len()].copy_from_slice(&self.0);
///         Ok(self.0.len())
///     }
/// }
///
/// impl Module for Echo {
///     const NAME: &'static CStr = c"echo";
///     const DESCRIPTION: &'static CStr = c"says what it hears";
///     const CONFIG_HELP: &'static CStr = c"there is nothing to configure";
///     const MAGIC: Magic = Magic::new(b"ECHO");
///
///     fn init(conf: Option<&str>) -> Result<Self> {
///         match conf {
///             None | Some("") => Ok(Self(Vec::new())),
///             Some(conf) => Err(Error::new(
///                 ErrorKind::BadValue,
///                 format!("\"{conf}\" is no configuration (it takes none)"),
///             )),
///         }
///     }
/// }
/// assert!(Echo::init(Some("loud")).is_err());
/// ```
pub trait Module: Tcti + Sized + 'static {
    /// The name that users give, as in `-T NAME:CONF`.
    const NAME: &'static CStr;
    /// The description, in one line.
    const DESCRIPTION: &'static CStr;
    /// The syntax of CONF, in one line, which users and programs read.
    const CONFIG_HELP: &'static CStr;
    /// The magic value of its contexts.
    const MAGIC: Magic = Magic::new(b"RUSTTCTI");
    /// The size of the largest response in bytes. Each context has a buffer of this
    /// length for [`receive`](Tcti::receive). Most TPMs have 4096. A size below a
    /// header's 10 bytes does not compile.
    const MAX_SIZE: usize = 4096;

    /// Opens the transport, once for each context. A caller that only asks for the
    /// context's size opens no transport. `conf` is the text after the colon behind the
    /// name, colons and commas included. It is `None` if there is no colon, or if
    /// tpm2-tss's loader finds no text after it. The module defines the syntax.
    ///
    /// # Errors
    /// Any; no context is made then. The log puts NAME in front of the sentence, so the
    /// sentence names the value and the remedy, not the module.
    fn init(conf: Option<&str>) -> Result<Self>;
}
