// SPDX-License-Identifier: BSD-2-Clause
//! The example of a transport and that of a layer keep every promise of the
//! conformance kit, as modules that a program loads.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use rusttcti_kit::conformance::{Subject, check};
use rusttcti_kit::module;
use rusttcti_kit::peer::Conn;
use rusttcti_kit::tpm::call;

fn conforms(name_conf: &str) {
    let subject = Subject::module(name_conf).expect("the example's module");
    let report = check(&subject);
    assert!(report.passed(), "{report}");
}

/// The address of a server that gives each connection a TPM of its own.
fn tpms() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut conn = Conn::Tcp(stream.expect("a connection"));
            thread::spawn(move || {
                let mut tpm = rusttcti::open("libtpms").expect("a TPM");
                while let Some(command) = conn.command() {
                    let response = call(&mut *tpm, &command).expect("a response");
                    if conn.write_all(&response).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn the_transport_conforms_over_a_tcp_connection() {
    conforms(&format!("{}:{}", module::own().display(), tpms()));
}

#[test]
fn the_layer_conforms_over_an_embedded_tpm() {
    let layer = module::own_layer();
    conforms(&format!("{}:,times=3,wait=1:libtpms", layer.display()));
}
