// SPDX-License-Identifier: BSD-2-Clause
//! A TPM at the other end of a TCP connection: `-T bridge:HOST:PORT`.

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rusttcti::{Error, ErrorKind, Module, Result, Tcti, header::Header};

struct Bridge(TcpStream);

impl Tcti for Bridge {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        Ok(self.0.write_all(command)?)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        // Waits for the first byte without taking it: at a timeout nothing is lost.
        self.0.set_nonblocking(timeout == Some(Duration::ZERO))?;
        self.0.set_read_timeout(timeout.filter(|t| !t.is_zero()))?;
        self.0.peek(&mut [0])?;
        self.0.set_nonblocking(false)?;
        self.0.set_read_timeout(None)?;

        self.0.read_exact(&mut response[..Header::SIZE])?;
        let size = Header::parse(response).map_or(0, |header| header.size as usize);
        let Some(body) = response.get_mut(Header::SIZE..size) else {
            // What follows is no response to the next command: it is lost with the line.
            self.0.shutdown(Shutdown::Both)?;
            return Err(ErrorKind::MalformedResponse.into());
        };
        self.0.read_exact(body)?;
        Ok(size)
    }
}

impl Module for Bridge {
    const NAME: &'static CStr = c"bridge";
    const DESCRIPTION: &'static CStr = c"a TPM at the other end of a TCP connection";
    const CONFIG_HELP: &'static CStr = c"HOST:PORT";

    fn init(conf: Option<&str>) -> Result<Self> {
        let address = conf.ok_or_else(|| Error::new(ErrorKind::BadValue, "needs HOST:PORT"))?;
        let connection = TcpStream::connect(address)
            .map_err(|e| Error::from(e).context(format!("cannot connect to {address}")))?;
        Ok(Self(connection))
    }
}

rusttcti::export!(Bridge, Tss2_Tcti_Bridge_Init);

#[cfg(test)]
mod tests;
