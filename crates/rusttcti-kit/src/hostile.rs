// SPDX-License-Identifier: BSD-2-Clause
//! A peer that answers commands as a test specifies, in the protocol of swtpm or of the
//! simulator.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusttcti::{Context, Tcti, open};

use super::commands::get_random;
use super::peer::{Conn, Handler, Pair};
use super::vtable::{Vtable, rc};

/// A protocol and a socket type to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The transport's name.
    pub transport: &'static str,
    /// Whether the peer listens on TCP ports, rather than unix sockets.
    pub tcp: bool,
    /// Whether the transport keeps its connection (`persistent=1`).
    pub persistent: bool,
}

/// Returns all ways.
pub fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for tcp in [true, false] {
        for (transport, persistent) in [("swtpm", false), ("swtpm", true), ("mssim", false)] {
            ways.push(Way {
                transport,
                tcp,
                persistent,
            });
        }
    }
    ways
}

/// The reaction of a peer to one command.
pub enum Act {
    /// Sends the right response.
    Answer,
    /// Sends these bytes, and keeps the connection.
    Say(Vec<u8>),
    /// Sends these bytes one by one, with this pause between them.
    SaySlowly(Vec<u8>, Duration),
    /// Sends these bytes, then a FIN.
    SayAndClose(Vec<u8>),
    /// Sends a RST.
    Reset,
    /// Sends the first bytes, then the rest when the test allows it, or never.
    SayInTwo(Vec<u8>, Receiver<()>, Vec<u8>),
    /// Sends nothing until the client closes, and reports that.
    Silence(Sender<()>),
}

/// The response of [`Act::Answer`].
pub const RESPONSE: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0xab, 0xcd];

impl Way {
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

    /// Starts a peer that performs `acts`, one for each command, and then answers
    /// normally.
    pub fn peer(self, acts: Vec<Act>) -> Pair {
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let main: Handler = Box::new(move |mut conn| self.serve(&mut conn, &acts));
        match self.tcp {
            true => Pair::tcp(main, Box::new(consent)),
            false => Pair::unix(main, Box::new(consent)),
        }
    }

    fn serve(self, conn: &mut Conn, acts: &Mutex<VecDeque<Act>>) {
        loop {
            if self.transport == "mssim" && conn.read_exact(&mut [0; 9]).is_err() {
                return;
            }
            if conn.command().is_none() {
                return;
            }
            let act = acts.lock().unwrap().pop_front();
            let goes_on = match act.unwrap_or(Act::Answer) {
                Act::Answer => conn.say(&self.frame(&RESPONSE)),
                Act::Say(bytes) => conn.say(&bytes),
                Act::SaySlowly(bytes, pause) => conn.say_slowly(&bytes, pause),
                Act::SayAndClose(bytes) => {
                    conn.say(&bytes);
                    false
                }
                Act::Reset => {
                    conn.reset();
                    false
                }
                Act::SayInTwo(first, go, second) => {
                    conn.say(&first) && go.recv().is_ok() && conn.say(&second)
                }
                Act::Silence(closed) => {
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
    pub fn open(self, peer: &Pair) -> Context<Box<dyn Tcti>> {
        Context::new(self.transport(peer))
    }

    /// Opens the transport to `peer`.
    pub fn transport(self, peer: &Pair) -> Box<dyn Tcti> {
        open(&self.chain(peer)).expect("the peer is there")
    }

    /// Returns the chain of the transport to `peer`.
    pub fn chain(self, peer: &Pair) -> String {
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

/// Returns the channel on which a silent peer reports that its client closed.
pub fn gate_of_silence() -> (Sender<()>, Receiver<()>) {
    channel()
}

/// Returns a channel by which a test allows an event to happen later.
pub fn gate() -> (Sender<()>, Receiver<()>) {
    channel()
}

/// Runs `test` in all ways in parallel.
pub fn in_all_ways(test: impl Fn(Way) + Sync) {
    std::thread::scope(|scope| {
        for way in ways() {
            let test = &test;
            std::thread::Builder::new()
                .name(format!("{way:?}"))
                .spawn_scoped(scope, move || test(way))
                .expect("a thread");
        }
    });
}

/// Sends a command.
pub fn send(tcti: Vtable) {
    assert_eq!(tcti.transmit(&get_random(2)), rc::SUCCESS);
}

/// Asserts that a command is sent and answered.
pub fn assert_works(way: Way, tcti: Vtable) {
    send(tcti);
    assert_eq!(
        tcti.receive(-1),
        (rc::SUCCESS, RESPONSE.to_vec()),
        "{way:?}"
    );
}
