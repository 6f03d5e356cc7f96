// SPDX-License-Identifier: BSD-2-Clause
//! The functions that `export!` exports, used as a C program uses them.

mod init;
mod sigpipe;

use std::ffi::CStr;
use std::time::Duration;

use rusttcti::{Error, ErrorKind, Magic, Module, Result, Tcti};
use rusttcti_kit::scripted::Scripted;

/// A module whose configuration says what its Init function does.
struct Exported(Box<dyn Tcti>);

impl Module for Exported {
    const NAME: &'static CStr = c"exported";
    const DESCRIPTION: &'static CStr = c"a module of a test";
    const CONFIG_HELP: &'static CStr = c"fail, panic, broken, broken in init, or anything else";
    const MAGIC: Magic = Magic::new(b"TEST");
    const MAX_SIZE: usize = 2048;

    fn init(conf: Option<&str>) -> Result<Self> {
        match conf {
            Some("fail") => Err(Error::new(ErrorKind::NoConnection, "as configured")),
            Some("panic") => panic!("as configured"),
            Some("broken") => Ok(Self(Box::new(sigpipe::Broken::open(false)?))),
            Some("broken in init") => Ok(Self(Box::new(sigpipe::Broken::open(true)?))),
            _ => Ok(Self(Box::new(Scripted::default()))),
        }
    }
}

impl Tcti for Exported {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.0.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.0.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.0)
    }
}

rusttcti::export!(Exported, Tss2_Tcti_Exported_Init);
