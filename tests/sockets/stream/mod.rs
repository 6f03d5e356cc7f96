// SPDX-License-Identifier: BSD-2-Clause
//! `Stream` over each kind of byte stream. The test is the peer.

mod exchanges;
mod failures;
mod process;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use rusttcti::header::Header;
use rusttcti::{Pipes, Stream, Tcti};
use rusttcti_kit::pty::Pty;

/// A kind of stream: its name, and what opens one with a peer.
type Kind = (&'static str, fn() -> Line);

const KINDS: [Kind; 4] = [("tcp", tcp), ("unix", unix), ("tty", tty), ("pipes", pipes)];

/// A stream, and its other end.
struct Line {
    tpm: Box<dyn Tcti>,
    peer: Peer,
}

/// The other end, whose reads and writes wait.
struct Peer {
    from: Box<dyn Read + Send>,
    to: Box<dyn Write + Send>,
    /// Things that must live as long as the peer.
    _kept: Option<Pty>,
}

impl Peer {
    fn of(stream: impl Read + Write + Send + 'static, same: impl Write + Send + 'static) -> Self {
        Self {
            from: Box::new(stream),
            to: Box::new(same),
            _kept: None,
        }
    }

    /// Returns the next command; `None` after the last one.
    fn command(&mut self) -> Option<Vec<u8>> {
        let mut command = vec![0; Header::SIZE];
        self.from.read_exact(&mut command).ok()?;
        let size = Header::parse(&command)?.size as usize;
        command.resize(size, 0);
        self.from.read_exact(&mut command[Header::SIZE..]).ok()?;
        Some(command)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).expect("the stream takes it");
    }

    /// Answers as a TPM, until the stream is closed.
    fn be_a_tpm(mut self) {
        let mut tpm = rusttcti::open("libtpms").expect("a TPM");
        while let Some(command) = self.command() {
            let response = rusttcti_kit::tpm::call(&mut *tpm, &command).expect("a response");
            if self.to.write_all(&response).is_err() {
                return;
            }
        }
    }

    /// Answers as a TPM in a thread.
    fn serve(self) -> thread::JoinHandle<()> {
        thread::spawn(|| self.be_a_tpm())
    }
}

/// Connects over the loopback.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("it");
    let (peer, _) = listener.accept().expect("the other end");
    peer.set_nodelay(true).expect("set");
    (stream, peer)
}

fn tcp() -> Line {
    let (stream, peer) = connected();
    let same = peer.try_clone().expect("a copy");
    Line {
        tpm: Box::new(Stream::new(stream)),
        peer: Peer::of(peer, same),
    }
}

fn unix() -> Line {
    let (stream, peer) = UnixStream::pair().expect("a pair");
    let same = peer.try_clone().expect("a copy");
    Line {
        tpm: Box::new(Stream::new(stream)),
        peer: Peer::of(peer, same),
    }
}

/// Opens a terminal as an author does.
fn terminal(path: &str) -> File {
    let mut options = File::options();
    options.read(true).write(true).open(path).expect("a tty")
}

fn tty() -> Line {
    let pty = Pty::new();
    let stream = Stream::new(terminal(pty.path()));
    let (from, to) = (pty.master.try_clone(), pty.master.try_clone());
    let mut peer = Peer::of(from.expect("a copy"), to.expect("a copy"));
    peer._kept = Some(pty);
    Line {
        tpm: Box::new(stream),
        peer,
    }
}

/// Returns the end to read from, and the one to write to.
fn pipe() -> (File, File) {
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (reader, writer) = rustix::pipe::pipe_with(flags).expect("a pipe");
    (reader.into(), writer.into())
}

fn pipes() -> Line {
    let ((from_tpm, to_us), (from_us, to_tpm)) = (pipe(), pipe());
    Line {
        tpm: Box::new(Stream::new(Pipes::new(from_tpm, to_tpm))),
        peer: Peer {
            from: Box::new(from_us),
            to: Box::new(to_us),
            _kept: None,
        },
    }
}
