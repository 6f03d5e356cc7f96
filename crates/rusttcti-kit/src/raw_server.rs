// SPDX-License-Identifier: BSD-2-Clause
//! A server in swtpm's protocol over an embedded TPM. The data channel carries bare
//! commands and responses; the control channel answers every request with success.

use std::sync::{Arc, Mutex};

use rusttcti::{Result, Tcti};

use super::hostile::consent;
use super::peer::{Conn, Server};
use super::tpm::call;

/// A running server, stopped when this is dropped.
pub struct RawServer {
    server: Server,
}

impl RawServer {
    /// Starts a server on two neighbouring TCP ports, with a new TPM of libtpms.
    ///
    /// # Errors
    /// Those of opening the embedded TPM.
    pub fn tcp() -> Result<Self> {
        let tpm = Arc::new(Mutex::new(rusttcti::open("libtpms")?));
        let serve = move |conn: Conn| serve(conn, &tpm);
        let server = Server::tcp(Box::new(serve), Box::new(consent));
        Ok(Self { server })
    }

    /// Returns the configuration of a transport to this server.
    pub fn conf(&self) -> String {
        self.server.conf()
    }
}

fn serve(mut conn: Conn, tpm: &Mutex<Box<dyn Tcti>>) {
    while let Some(command) = conn.command() {
        let mut tpm = tpm.lock().expect("no panic");
        let answered = call(&mut **tpm, &command).is_ok_and(|response| conn.send(&response));
        if !answered {
            return;
        }
    }
}
