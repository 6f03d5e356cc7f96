// SPDX-License-Identifier: BSD-2-Clause
//! A peer that answers commands as a test specifies, in the protocol of swtpm or of the
//! simulator.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusttcti::{Context, Tcti, open};

use super::commands::get_random;
use super::peer::{Conn, Handler, Server};
use super::vtable::{Vtable, rc};

/// A protocol and a socket type to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The transport's name.
    pub transport: &'static str,
    /// Whether the peer listens on TCP ports, rather than unix sockets.
    pub tcp: bool,
    /// Whether the transport keeps its connection (`persistent=1`).
    pub persistent: bool,
}

/// Returns each route.
pub fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for tcp in [true, false] {
        for (transport, persistent) in [("swtpm", false), ("swtpm", true), ("mssim", false)] {
            routes.push(Route {
                transport,
                tcp,
                persistent,
            });
        }
    }
    routes
}

/// The reaction of a peer to one command.
pub enum Reaction {
    /// Sends the right response.
    Answer,
    /// Sends these bytes, and keeps the connection.
    Send(Vec<u8>),
    /// Sends these bytes one by one, with this pause between them.
    SendSlowly(Vec<u8>, Duration),
    /// Sends these bytes, then a FIN.
    SendAndClose(Vec<u8>),
    /// Sends a RST.
    Reset,
    /// Sends the first bytes, then the rest when the test allows it, or never.
    SendInTwo(Vec<u8>, Receiver<()>, Vec<u8>),
    /// Sends nothing until the client closes, and reports that.
    Silence(Sender<()>),
}

/// The response of [`Reaction::Answer`].
pub const RESPONSE: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0xab, 0xcd];

impl Route {
    /// Returns a response as this protocol frames it.
    pub fn frame(self, response: &[u8]) -> Vec<u8> {
        match self.transport {
            "mssim" => {
                let mut frame = (response.len() as u32).to_be_bytes().to_vec();
                frame.extend_from_slice(response);
                frame.extend_from_slice(&[0; 4]);
                frame
            }
            _ => response.to_vec(),
        }
    }

    /// Returns the first bytes of a response that claims a length of `size` bytes.
    pub fn claim(self, size: u32) -> Vec<u8> {
        let mut claim = match self.transport {
            "mssim" => size.to_be_bytes().to_vec(),
            _ => Vec::new(),
        };
        claim.extend_from_slice(&[0x80, 0x01]);
        claim.extend_from_slice(&size.to_be_bytes());
        claim.extend_from_slice(&[0; 4]);
        claim
    }

    /// Starts a peer that performs `reactions`, one for each command, and then answers
    /// normally.
    pub fn peer(self, reactions: Vec<Reaction>) -> Server {
        let reactions = Arc::new(Mutex::new(VecDeque::from(reactions)));
        let main: Handler = Box::new(move |mut conn| self.serve(&mut conn, &reactions));
        match self.tcp {
            true => Server::tcp(main, Box::new(consent)),
            false => Server::unix(main, Box::new(consent)),
        }
    }

    fn serve(self, conn: &mut Conn, reactions: &Mutex<VecDeque<Reaction>>) {
        loop {
            if self.transport == "mssim" && conn.read_exact(&mut [0; 9]).is_err() {
                return;
            }
            if conn.command().is_none() {
                return;
            }
            let reaction = reactions.lock().unwrap().pop_front();
            let goes_on = match reaction.unwrap_or(Reaction::Answer) {
                Reaction::Answer => conn.send(&self.frame(&RESPONSE)),
                Reaction::Send(bytes) => conn.send(&bytes),
                Reaction::SendSlowly(bytes, pause) => conn.send_slowly(&bytes, pause),
                Reaction::SendAndClose(bytes) => {
                    conn.send(&bytes);
                    false
                }
                Reaction::Reset => {
                    conn.reset();
                    false
                }
                Reaction::SendInTwo(first, go, second) => {
                    conn.send(&first) && go.recv().is_ok() && conn.send(&second)
                }
                Reaction::Silence(closed) => {
                    conn.wait_for_close();
                    let _ = closed.send(());
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Opens a context on `peer`.
    pub fn open(self, peer: &Server) -> Context<Box<dyn Tcti>> {
        Context::new(self.transport(peer))
    }

    /// Opens the transport to `peer`.
    pub fn transport(self, peer: &Server) -> Box<dyn Tcti> {
        open(&self.chain(peer)).expect("the peer is there")
    }

    /// Returns the chain of the transport to `peer`.
    pub fn chain(self, peer: &Server) -> String {
        let persistent = if self.persistent { ",persistent=1" } else { "" };
        format!("{}:{}{persistent}", self.transport, peer.conf())
    }
}

/// Answers every request on the control or platform channel with success.
pub fn consent(mut conn: Conn) {
    let mut request = [0; 64];
    while let Ok(1..) = conn.read(&mut request) {
        if conn.write_all(&[0; 4]).is_err() {
            return;
        }
    }
}

/// Runs `test` over each route, all in parallel.
pub fn on_all_routes(test: impl Fn(Route) + Sync) {
    std::thread::scope(|scope| {
        for route in routes() {
            let test = &test;
            std::thread::Builder::new()
                .name(format!("{route:?}"))
                .spawn_scoped(scope, move || test(route))
                .expect("a thread");
        }
    });
}

/// Sends a command.
pub fn send(tcti: Vtable) {
    assert_eq!(tcti.transmit(&get_random(2)), rc::SUCCESS);
}

/// Asserts that a command is sent and answered.
pub fn assert_works(route: Route, tcti: Vtable) {
    send(tcti);
    assert_eq!(
        tcti.receive(-1),
        (rc::SUCCESS, RESPONSE.to_vec()),
        "{route:?}"
    );
}
