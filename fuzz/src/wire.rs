// SPDX-License-Identifier: BSD-2-Clause
//! The server's end of a data channel, in the client's own thread: it accepts and
//! writes only when it is called, and never waits.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) enum Conn {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(crate) fn set_nonblocking(&self) {
        let done = match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        };
        done.expect("a listener");
    }

    pub(crate) fn accept(&self) -> std::io::Result<Conn> {
        Ok(match self {
            Self::Tcp(listener) => {
                let stream = listener.accept()?.0;
                // Its close is a RST: no port is left waiting for the peer's
                // last packets, of which a fuzzer would run out.
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                stream.set_nodelay(true)?;
                Conn::Tcp(stream)
            }
            Self::Unix(listener) => Conn::Unix(listener.accept()?.0),
        })
    }
}

impl Conn {
    pub(crate) fn set_nonblocking(&self) {
        let done = match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
        };
        done.expect("a connection");
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn end(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

/// The newest connection that a client made.
pub(crate) struct Wire<'a> {
    listener: &'a Listener,
    conn: Option<Conn>,
    /// All that was written to it, and how much of that the client had back.
    said: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(listener: &'a Listener) -> Self {
        Self {
            listener,
            conn: None,
            said: Vec::new(),
            taken: 0,
            ended: false,
        }
    }

    /// Goes over to the newest connection; those before are closed.
    pub(crate) fn accept(&mut self) {
        while let Ok(conn) = self.listener.accept() {
            conn.set_nonblocking();
            self.conn = Some(conn);
            self.said.clear();
            (self.taken, self.ended) = (0, false);
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        let Some(conn) = &mut self.conn else {
            return;
        };
        // What the client does not read in time is not said.
        if let Ok(count) = conn.write(bytes) {
            self.said.extend_from_slice(&bytes[..count]);
        }
    }

    /// Reads what has come, so that there is room for more.
    pub(crate) fn hear(&mut self) {
        let mut buffer = [0; 16384];
        let Some(conn) = &mut self.conn else {
            return;
        };
        loop {
            match conn.read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// Ends what is said: the client reads to the end.
    pub(crate) fn end(&mut self) {
        if let Some(conn) = &self.conn {
            conn.end();
            self.ended = true;
        }
    }

    /// Goes away: over TCP, the client's connection is reset.
    pub(crate) fn close(&mut self) {
        self.conn = None;
    }

    /// True where the client need not wait for ever for an end.
    pub(crate) fn is_over(&self) -> bool {
        self.conn.is_none() || self.ended
    }

    /// Checks that a response is what was said on this connection, in `frame`
    /// bytes in front of it and behind it.
    pub(crate) fn check(&mut self, response: &[u8], frame: usize) {
        let from = self.taken + frame;
        let said = self.said.get(from..from + response.len());
        assert_eq!(said, Some(response), "no response that was given");
        self.taken = from + response.len() + frame;
    }
}
