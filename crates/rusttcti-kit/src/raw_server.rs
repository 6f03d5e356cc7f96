// SPDX-License-Identifier: BSD-2-Clause
//! Servers of bare commands and responses over embedded TPMs: one in swtpm's protocol,
//! whose control channel answers every request with success, and one with a single
//! channel.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

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

/// Starts a server that gives each TCP connection a new TPM of libtpms, and returns its
/// address, `HOST:PORT`. It runs until the process ends.
pub fn a_tpm_for_each_connection() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let conn = Conn::Tcp(stream.expect("a connection"));
            thread::spawn(move || {
                let tpm = rusttcti::open("libtpms").expect("a TPM of libtpms");
                serve(conn, &Mutex::new(tpm));
            });
        }
    });
    address
}

/// Answers commands until the client goes, or the TPM fails.
fn serve(mut conn: Conn, tpm: &Mutex<Box<dyn Tcti>>) {
    while let Some(command) = conn.command() {
        let mut tpm = tpm.lock().expect("no panic");
        let answered = call(&mut **tpm, &command).is_ok_and(|response| conn.send(&response));
        if !answered {
            return;
        }
    }
}
