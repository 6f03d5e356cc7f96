// SPDX-License-Identifier: BSD-2-Clause
//! The transport, called as C calls it. The TPM at its other end runs in the test
//! itself, by libtpms (Debian: libtpms0). `cargo test` runs the tests. `conformance!`
//! adds a test that runs every check of the kit.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use super::*;
use rusttcti::wire::{CommandBuilder, CommandCode, Header};
use rusttcti::{Context, TctiExt};
use rusttcti_kit::raw_server;

rusttcti_kit::conformance!(module Tss2_Tcti_Info, raw_server::a_tpm_for_each_connection());

/// TPM2_GetRandom of 16 bytes; its response has 28.
fn get_random() -> Vec<u8> {
    CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build()
}

/// The address of a peer that does this with the first connection.
fn peer(does: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || does(listener.accept().expect("a connection").0));
    address
}

/// Reads a command; `None` if the transport closed the connection.
fn command(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; Header::SIZE];
    connection.read_exact(&mut bytes).ok()?;
    bytes.resize(Header::parse(&bytes)?.size as usize, 0);
    connection.read_exact(&mut bytes[Header::SIZE..]).ok()?;
    Some(bytes)
}

/// A TPM, for as long as the connection lasts.
fn tpm(mut connection: TcpStream) {
    let mut tpm = rusttcti::open("libtpms").expect("a TPM");
    while let Some(command) = command(&mut connection) {
        let response = tpm.execute(&command, None).expect("a response");
        connection.write_all(&response).expect("sent back");
    }
}

/// The transport behind the checks and the state machine that C calls it through.
fn context(address: &str) -> Context<Bridge> {
    Context::new(Bridge::init(Some(address)).expect("a connection"))
}

#[test]
fn a_tpm_answers() {
    let mut c = context(&peer(tpm));
    for _ in 0..3 {
        let response = c.execute(&get_random(), None).expect("a response");
        let code = Header::parse(&response).map(|header| header.code);
        assert_eq!((response.len(), code), (28, Some(0)));
    }
}

#[test]
fn a_timeout_loses_nothing_wherever_the_peer_stalls() {
    for cut in [0, 4, 10, 11] {
        let (go_on, word) = mpsc::channel();
        let mut c = context(&peer(move |mut connection| {
            command(&mut connection).expect("a command");
            let response = b"\x80\x01\0\0\0\x0c\0\0\0\0\x01\x02";
            connection.write_all(&response[..cut]).expect("sent");
            word.recv().expect("the test's word");
            connection.write_all(&response[cut..]).expect("sent");
        }));
        let mut response = [0; 4096];
        c.transmit(&get_random()).expect("sent");
        for timeout in [Duration::ZERO, Duration::from_millis(5)] {
            let error = c
                .receive(&mut response, Some(timeout))
                .expect_err("it is not whole");
            assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
        }
        go_on.send(()).expect("the peer is there");
        assert_eq!(c.receive(&mut response, None).expect("a response"), 12);
        assert_eq!(response[10..12], [1, 2]);
    }
}

#[test]
fn an_event_loop_has_a_descriptor_to_poll() {
    let mut c = context(&peer(tpm));
    let handles = c.poll_handles().expect("poll handles");
    assert_eq!((handles.len(), handles[0].events), (1, 1)); // POLLIN
}

#[test]
fn a_peer_that_goes_away_is_said_so() {
    let mut c = context(&peer(|mut connection| {
        command(&mut connection).expect("a command");
    }));
    c.transmit(&get_random()).expect("sent");
    let error = c.receive(&mut [0; 4096], None).expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::NoConnection, "{}", error.report());
}

#[test]
fn what_follows_a_response_that_lies_is_no_response_to_the_next_command() {
    let mut c = context(&peer(|mut connection| {
        command(&mut connection).expect("a command");
        let mut sent = b"\x80\x01\0\0\0\x05\0\0\0\0".to_vec();
        sent.extend(b"\x80\x01\0\0\0\x0a\0\0\0\0");
        connection.write_all(&sent).expect("sent");
        // Stays there until the transport goes.
        let _ = connection.read(&mut [0]);
    }));
    c.transmit(&get_random()).expect("sent");
    let error = c.receive(&mut [0; 4096], None).expect_err("5 bytes?");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    let error = c.transmit(&get_random()).expect_err("it is lost");
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert!(error.report().contains("lost"), "{}", error.report());
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_words() {
    for (conf, words) in [(None, "needs HOST:PORT"), (Some("nowhere"), "to nowhere: ")] {
        let error = Bridge::init(conf).err().expect("refused").report();
        assert!(error.contains(words), "{error}");
    }
}
