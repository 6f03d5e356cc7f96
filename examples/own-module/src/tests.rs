// SPDX-License-Identifier: BSD-2-Clause
//! The transport, with a TPM at its other end that runs in the test itself (by
//! libtpms; Debian: libtpms0), and called as C calls it. `cargo test` runs them.

use std::net::TcpListener;
use std::thread;

use super::*;
use rusttcti::Context;

/// TPM2_GetRandom of 16 bytes; its response has 28.
const GET_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 16];

/// The address of a peer that does this with the first connection.
fn peer(does: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || does(listener.accept().expect("a connection").0));
    address
}

/// A TPM, for as long as the connection lasts.
fn tpm(mut connection: TcpStream) {
    let mut tpm = rusttcti::open("libtpms").expect("a TPM");
    let mut bytes = [0; 4096];
    while connection.read_exact(&mut bytes[..Header::SIZE]).is_ok() {
        let size = Header::parse(&bytes).map_or(0, |header| header.size as usize);
        let body = &mut bytes[Header::SIZE..size];
        connection.read_exact(body).expect("a whole command");
        tpm.transmit(&bytes[..size]).expect("sent");
        let size = tpm.receive(&mut bytes, None).expect("a response");
        connection.write_all(&bytes[..size]).expect("sent back");
    }
}

/// The transport behind the checks and the state machine that C calls it through.
fn context(address: &str) -> Context<Bridge> {
    Context::new(Bridge::init(Some(address)).expect("a connection"))
}

#[test]
fn a_tpm_answers() {
    let mut c = context(&peer(tpm));
    let mut response = [0; 4096];
    for _ in 0..3 {
        c.transmit(&GET_RANDOM).expect("sent");
        let size = c.receive(&mut response, None).expect("a response");
        let code = Header::parse(&response).map(|header| header.code);
        assert_eq!((size, code), (28, Some(0)));
    }
}

#[test]
fn a_timeout_loses_nothing() {
    let (now, ask) = std::sync::mpsc::channel();
    let mut c = context(&peer(move |connection| {
        ask.recv().expect("the test's word");
        tpm(connection);
    }));
    let mut response = [0; 4096];
    c.transmit(&GET_RANDOM).expect("sent");
    for timeout in [Duration::ZERO, Duration::from_millis(5)] {
        let error = c
            .receive(&mut response, Some(timeout))
            .expect_err("nothing yet");
        assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
    }
    now.send(()).expect("the peer is there");
    assert_eq!(c.receive(&mut response, None).expect("a response"), 28);
}

#[test]
fn a_peer_that_goes_away_is_said_so() {
    let mut c = context(&peer(|mut connection| {
        connection.read_exact(&mut [0; 12]).expect("a command");
    }));
    c.transmit(&GET_RANDOM).expect("sent");
    let error = c.receive(&mut [0; 4096], None).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NoConnection, "{}", error.report());
}

#[test]
fn what_follows_a_response_that_lies_is_no_response_to_the_next_command() {
    let mut c = context(&peer(|mut connection| {
        connection.read_exact(&mut [0; 12]).expect("a command");
        let mut sent = b"\x80\x01\0\0\0\x05\0\0\0\0".to_vec();
        sent.extend(b"\x80\x01\0\0\0\x0a\0\0\0\0");
        connection.write_all(&sent).expect("sent");
        // Stays there until the transport goes.
        let _ = connection.read(&mut [0]);
    }));
    c.transmit(&GET_RANDOM).expect("sent");
    let error = c.receive(&mut [0; 4096], None).expect_err("5 bytes?");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    let again = c.transmit(&GET_RANDOM);
    let again = again.and_then(|()| c.receive(&mut [0; 4096], None));
    assert_eq!(
        again.expect_err("it is gone").kind(),
        ErrorKind::NoConnection
    );
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_words() {
    for (conf, words) in [(None, "needs HOST:PORT"), (Some("nowhere"), "to nowhere: ")] {
        let error = Bridge::init(conf).err().expect("refused").report();
        assert!(error.contains(words), "{error}");
    }
}
