// SPDX-License-Identifier: BSD-2-Clause
//! An swtpm, or a simulator, that does anything, over real sockets and with the real
//! transports. Afterwards a correct peer takes its place, and the same context must
//! work with it.

#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::os::unix::net::UnixListener;

use rusttcti::wire::frame::mssim;
use rusttcti::{ErrorKind, Tcti, open};
use rusttcti_kit::ports;
use tempfile::TempDir;

use crate::client::{Client, last_error};
use crate::control::{Answer, Control};
use crate::input::Input;
use crate::wire::{Listener, Wire};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Swtpm,
    Mssim,
}

/// Where a peer is.
struct Place {
    conf: String,
    data: Listener,
    control: Control,
    _folder: Option<TempDir>,
}

thread_local! {
    static UNIX: OnceCell<Place> = const { OnceCell::new() };
    static TCP: OnceCell<Place> = const { OnceCell::new() };
}

impl Place {
    fn unix() -> Self {
        let folder = TempDir::new().expect("a folder for sockets");
        let path = folder.path().join("s");
        let bind = |path| Listener::Unix(UnixListener::bind(path).expect("a socket"));
        let control = folder.path().join("s.ctrl");
        let mut place = Self::new(bind(path.clone()), bind(control));
        place.conf = format!("path={}", path.display());
        place._folder = Some(folder);
        place
    }

    fn tcp() -> Self {
        let [data, control] = ports::neighbours();
        let conf = format!("host=127.0.0.1,port={}", ports::port(&data));
        let mut place = Self::new(Listener::Tcp(data), Listener::Tcp(control));
        place.conf = conf;
        place
    }

    fn new(data: Listener, control: Listener) -> Self {
        data.set_nonblocking();
        Self {
            conf: String::new(),
            data,
            control: Control::serve(control),
            _folder: None,
        }
    }
}

pub(crate) fn run_swtpm(input: &[u8]) {
    run(Protocol::Swtpm, input);
}

pub(crate) fn run_mssim(input: &[u8]) {
    run(Protocol::Mssim, input);
}

fn run(protocol: Protocol, input: &[u8]) {
    let mut input = Input::new(input);
    let kind = input.byte();
    // TCP takes three times as long, and is much the same.
    if kind & 0x1f == 0x1f {
        TCP.with(|place| attack(protocol, kind, place.get_or_init(Place::tcp), &mut input));
    } else {
        UNIX.with(|place| attack(protocol, kind, place.get_or_init(Place::unix), &mut input));
    }
}

fn attack(protocol: Protocol, kind: u8, place: &Place, input: &mut Input<'_>) {
    let mut wire = Wire::new(&place.data);
    // Of a run before.
    wire.accept();
    wire.close();
    place.control.consent();
    for _ in 0..(kind >> 6) {
        place.control.push(answer(input));
    }
    let chain = match (protocol, kind & 0x20 != 0) {
        (Protocol::Swtpm, false) => format!("swtpm:{}", place.conf),
        (Protocol::Swtpm, true) => format!("swtpm:{},persistent=1", place.conf),
        (Protocol::Mssim, _) => format!("mssim:{}", place.conf),
    };
    let mut client = match open(&chain) {
        Ok(tcti) => Client::new(tcti),
        Err(error) => {
            let kinds = [ErrorKind::NoConnection, ErrorKind::IoError];
            assert!(kinds.contains(&error.kind()), "{error:?}");
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    wire.accept();
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        step(protocol, &mut client, &mut wire, &place.control, input);
    }
    recover(protocol, &mut client, &mut wire, &place.control);
}

/// One thing that the client or the peer does.
fn step(
    protocol: Protocol,
    client: &mut Client<Box<dyn Tcti>>,
    wire: &mut Wire<'_>,
    control: &Control,
    input: &mut Input<'_>,
) {
    match input.byte() & 31 {
        0..5 => {
            client.send(input.byte().into());
            wire.accept();
        }
        5..8 => receive(protocol, client, wire, 4096, 0),
        8 => receive(protocol, client, wire, 4096, 1),
        9 => receive(protocol, client, wire, input.byte().into(), 0),
        10 if wire.is_over() || !client.is_waiting() => {
            receive(protocol, client, wire, 4096, -1);
        }
        10 => receive(protocol, client, wire, 4096, -2),
        11 => client.size(),
        12..15 => wire.send(input.string()),
        15..18 => {
            let size = usize::from(input.byte());
            let claimed = size as u32;
            wire.send(&frame(protocol, claimed, claimed, &vec![0x5b; size]));
        }
        18 => {
            // Sizes that lie, each of them.
            let (outer, inner) = (input.number::<4>() as u32, input.number::<4>() as u32);
            wire.send(&frame(protocol, outer, inner, input.string()));
        }
        19 => {
            let size = input.number::<2>() as usize % 4200;
            wire.send(&frame(
                protocol,
                size as u32,
                size as u32,
                &vec![0x5c; size],
            ));
        }
        20 | 21 => wire.end(),
        22 => wire.close(),
        23 => client.cancel(),
        24 => client.set_locality(input.byte()),
        25 => client.poll_handles(usize::from(input.byte() & 1)),
        26 => client.reset(),
        27 | 28 => control.push(answer(input)),
        29 => control.consent(),
        30 => wire.hear(),
        _ => {
            // More than a socket takes.
            client.send(usize::from(input.byte()) << 11);
            wire.accept();
        }
    }
}

fn receive(
    protocol: Protocol,
    client: &mut Client<Box<dyn Tcti>>,
    wire: &mut Wire<'_>,
    capacity: usize,
    timeout: i32,
) {
    if let Some(response) = client.receive(capacity, timeout) {
        wire.check(&response, if protocol == Protocol::Mssim { 4 } else { 0 });
    }
}

/// A response of `body` with a header that claims `inner` bytes, in a frame
/// that claims `outer`.
fn frame(protocol: Protocol, outer: u32, inner: u32, body: &[u8]) -> Vec<u8> {
    let mut response = vec![0x80, 0x01];
    response.extend_from_slice(&inner.to_be_bytes());
    response.extend_from_slice(&[0; 4]);
    // A body of all that there is to be, its header included.
    response.extend_from_slice(body.get(10..).unwrap_or_default());
    match protocol {
        Protocol::Swtpm => response,
        Protocol::Mssim => [&mssim::response_head(outer)[..], &response, &mssim::DONE].concat(),
    }
}

fn answer(input: &mut Input<'_>) -> Answer {
    match input.byte() & 15 {
        0..6 => Answer::Bytes(vec![0; 4]),
        6..8 => Answer::Bytes(input.bytes(4).to_vec()),
        8..10 => Answer::Bytes(input.string().to_vec()),
        10..12 => Answer::Last(vec![0; 4]),
        12..15 => Answer::Last(input.bytes(3).to_vec()),
        _ => Answer::Silence,
    }
}

/// The peer is a good one from now on: a command that is under way comes to an
/// end, and one of the next ones is answered.
fn recover(
    protocol: Protocol,
    client: &mut Client<Box<dyn Tcti>>,
    wire: &mut Wire<'_>,
    control: &Control,
) {
    control.consent();
    wire.end();
    wire.close();
    while client.is_waiting() {
        // The end of the connection is an answer, too.
        client.receive(4096, -1);
    }
    let mut tries = 0;
    for _ in 0..500 {
        if tries == 3 {
            break;
        }
        if !client.send(2) {
            // A busy machine may not let the other channel's thread answer in
            // the few milliseconds that there are: that is no try.
            tries += usize::from(!last_error().contains("within 0 s"));
            wire.close();
            continue;
        }
        tries += 1;
        wire.accept();
        wire.send(&frame(protocol, 12, 12, &[0; 12]));
        if let Some(response) = client.receive(4096, 1000) {
            assert_eq!(response.len(), 12);
            return;
        }
        if client.is_waiting() {
            wire.close();
            client.receive(4096, -1);
        }
    }
    panic!("the context is of no use any more: {}", last_error());
}
