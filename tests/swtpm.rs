// SPDX-License-Identifier: BSD-2-Clause
//! The transport swtpm over a live swtpm: what its users do with it.

mod common;

use common::commands::{get_random, response_code};
use common::swtpm::Swtpm;
use common::vtable::{Vtable, rc};
use rusttcti::transport::swtpm::Swtpm as Transport;
use rusttcti::{Context, ErrorKind, Module};

/// All ways to reach a swtpm.
fn peers() -> Vec<(Swtpm, String)> {
    let mut peers = Vec::new();
    for persistent in ["", ",persistent=1"] {
        for peer in [Swtpm::tcp(), Swtpm::unix()] {
            let conf = peer.conf() + persistent;
            peers.push((peer, conf));
        }
    }
    peers
}

fn open(conf: &str) -> Context<Transport> {
    Context::new(Transport::init(Some(conf)).expect("swtpm is there"))
}

fn random_bytes(tcti: Vtable) -> Vec<u8> {
    assert_eq!(tcti.transmit(&get_random(16)), rc::SUCCESS);
    let (code, response) = tcti.receive(-1);
    assert_eq!(code, rc::SUCCESS);
    assert_eq!(response_code(&response), 0);
    assert_eq!(response.len(), 28);
    response[12..].to_vec()
}

#[test]
fn commands_bring_responses() {
    for (_peer, conf) in peers() {
        let context = open(&conf);
        let tcti = Vtable(context.as_ptr());
        let first = random_bytes(tcti);
        for _ in 0..50 {
            assert_ne!(random_bytes(tcti), first, "{conf}");
        }
    }
}

#[test]
fn a_missing_swtpm_is_reported_at_init() {
    let port = common::swtpm::free_ports();
    for persistent in ["", ",persistent=1"] {
        let error = Transport::init(Some(&format!("port={port}{persistent}"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to swtpm at localhost:{port}: connection refused \
                 (is swtpm running there?)"
            )
        );
        let error = Transport::init(Some(&format!("path=/nowhere/tpm{persistent}"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert!(
            error
                .to_string()
                .contains("/nowhere/tpm: no such file or directory"),
            "{error}"
        );
    }
}
