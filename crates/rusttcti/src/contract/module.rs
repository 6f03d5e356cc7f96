// SPDX-License-Identifier: BSD-2-Clause
//! A transport that has a name and is opened from a string.

#![forbid(unsafe_code)]

use std::ffi::CStr;

use crate::{Magic, Result, Tcti};

/// A transport that is opened from a configuration string, and can be a module
/// of its own (see [`export!`](crate::export)).
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
    /// What it is, in a line.
    const DESCRIPTION: &'static CStr;
    /// What CONF may be, in a line: users and programs read it.
    const CONFIG_HELP: &'static CStr;
    /// The magic value of its contexts.
    const MAGIC: Magic = Magic::new(b"RUSTTCTI");
    /// The size of the largest response in bytes: how long the buffer of
    /// [`receive`](Tcti::receive) is, which each context has from the beginning.
    /// TPMs mostly have 4096; fewer than a header's 10 don't compile.
    const MAX_SIZE: usize = 4096;

    /// Opens the transport, once for each context; a caller who only asks for
    /// the context's size opens nothing. `conf` is what stands behind the name's
    /// colon, colons and commas included; `None` where there is no colon, and
    /// where tpm2-tss's loader finds nothing behind it. How it is written is the
    /// module's own choice.
    ///
    /// # Errors
    /// Any; no context is made then. The log puts NAME in front of the
    /// sentence: let it name the value and the remedy, and not the module.
    fn init(conf: Option<&str>) -> Result<Self>;
}
