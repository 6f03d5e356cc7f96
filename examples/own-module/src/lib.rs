// SPDX-License-Identifier: BSD-2-Clause
//! A TPM at the other end of a TCP connection: `-T bridge:HOST:PORT`.

use std::{ffi::CStr, net::TcpStream, time::Duration};

use rusttcti::{Error, ErrorKind, Module, Result, Stream, Tcti};

struct Bridge(Stream<TcpStream>);

impl Tcti for Bridge {
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

impl Module for Bridge {
    const NAME: &'static CStr = c"bridge";
    const DESCRIPTION: &'static CStr = c"a TPM at the other end of a TCP connection";
    const CONFIG_HELP: &'static CStr = c"HOST:PORT";

    fn init(conf: Option<&str>) -> Result<Self> {
        let address = conf.ok_or_else(|| Error::new(ErrorKind::BadValue, "needs HOST:PORT"))?;
        let stream = TcpStream::connect(address)
            .map_err(|e| Error::from(e).context(format!("cannot connect to {address}")))?;
        Ok(Self(Stream::new(stream)))
    }
}

rusttcti::export!(Bridge, Tss2_Tcti_Bridge_Init);

#[cfg(test)]
mod tests;
