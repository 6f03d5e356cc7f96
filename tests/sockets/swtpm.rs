// SPDX-License-Identifier: BSD-2-Clause
//! The transport swtpm over a real swtpm: its common uses.

use std::time::Duration;

use rusttcti::transport::swtpm::Swtpm as Transport;
use rusttcti::wire::{CommandBuilder, CommandCode, Handle};
use rusttcti::{Context, ErrorKind, Module, Tcti};
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::{Vtable, rc};

/// Returns a chain for each way to reach a swtpm.
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
fn what_is_behind_the_longest_command_that_swtpm_reads_gets_nobody_an_answer() {
    for (_peer, conf) in peers() {
        let context = open(&conf);
        let tcti = Vtable(context.as_ptr());
        for hidden in [1, 4, 12] {
            // swtpm reads 4096 bytes, and what follows as the next command.
            let mut long = get_random(16);
            long.resize(4096, 0);
            long.extend_from_slice(&get_random(4)[..hidden]);
            let size = u32::try_from(long.len()).expect("a size");
            long[2..6].copy_from_slice(&size.to_be_bytes());
            assert_eq!(tcti.transmit(&long), rc::SUCCESS, "{conf}");
            let (code, response) = tcti.receive(-1);
            assert_eq!(code, rc::SUCCESS, "{conf}");
            assert_ne!(response_code(&response), 0, "{conf}");
            for _ in 0..3 {
                random_bytes(tcti);
            }
        }
        let mut longest = get_random(16);
        longest.resize(4096, 0);
        longest[2..6].copy_from_slice(&4096_u32.to_be_bytes());
        assert_eq!(tcti.transmit(&longest), rc::SUCCESS, "{conf}");
        let (code, response) = tcti.receive(-1);
        assert_eq!(code, rc::SUCCESS, "{conf}");
        assert_ne!(response_code(&response), 0, "{conf}");
        random_bytes(tcti);
    }
}

#[test]
fn a_missing_swtpm_is_reported_at_init() {
    let port = rusttcti_kit::ports::free();
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

#[test]
fn all_configurations_of_tpm2_tss_s_swtpm_are_understood() {
    let (tcp, unix) = (Swtpm::tcp(), Swtpm::unix());
    let (port, path) = (tcp.port(), unix.conf());
    for conf in [
        format!("port={port}"),
        format!("host=127.0.0.1,port={port}"),
        format!("port={port},host=localhost"),
        format!(",,host=localhost,,port={port},"),
        format!("port=1,port={port}"),
        format!("port= {port}"),
        format!("port=+0{port}"),
        // The last of a host and a path counts.
        format!("{path},host=localhost,port={port}"),
        format!("host=nowhere.invalid,{path}"),
        format!("port=1,{path}"),
        format!("path=/nowhere,{path}"),
        format!("{path},persistent=0"),
        format!("persistent=1,persistent=0,{path}"),
    ] {
        random_bytes(Vtable(open(&conf).as_ptr()));
    }
}

#[test]
fn a_mistake_in_the_configuration_names_the_key_the_value_and_what_is_allowed() {
    let long = "x".repeat(108);
    for (conf, text) in [
        (
            "prot=2321",
            "swtpm has no option \"prot\" (its options: host, port, path, persistent, \
             wait)",
        ),
        (
            "port=0",
            "swtpm: port=\"0\" is not allowed (port is a number from 1 to 65534)",
        ),
        (
            "port=65536",
            "swtpm: port=\"65536\" is not allowed (port is a number from 1 to 65534)",
        ),
        // The control channel's is the next one.
        (
            "port=65535",
            "swtpm: port=\"65535\" is not allowed (port is a number from 1 to 65534)",
        ),
        ("port=", "swtpm: port=\"\" is not allowed"),
        ("port=-1", "swtpm: port=\"-1\" is not allowed"),
        ("port=http", "swtpm: port=\"http\" is not allowed"),
        (
            "host=",
            "swtpm: host=\"\" is not allowed (host is a host name or an IP address)",
        ),
        (
            "path=",
            "swtpm: path=\"\" is not allowed (path is a unix socket's path)",
        ),
        (
            "persistent=yes",
            "swtpm: persistent=\"yes\" is not allowed (persistent is 0 or 1)",
        ),
        (
            "localhost",
            "\"localhost\" in the configuration \"localhost\" is not of the form key=value \
             (as in port=2321)",
        ),
        ("=localhost", "is not of the form key=value"),
        (
            "localhost:2321",
            "\"localhost:2321\" in the configuration \"localhost:2321\" is not of the form \
             key=value (write host=localhost,port=2321)",
        ),
        (
            "wait=soon",
            "swtpm: wait=\"soon\" is not allowed (wait is a number of seconds from 0 to 3600)",
        ),
        ("wait=3601", "swtpm: wait=\"3601\" is not allowed"),
        ("persistent=1 ", "swtpm: persistent=\"1 \" is not allowed"),
        (
            &format!("path=/{long}"),
            "is not allowed (path is a unix socket's path: at most",
        ),
    ] {
        let error = Transport::init(Some(conf)).map(drop).expect_err(conf);
        assert_eq!(error.kind(), ErrorKind::BadValue, "{conf}");
        assert!(error.to_string().contains(text), "{conf}: {error}");
    }
    let error = Transport::init(Some("host=nowhere.invalid")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert_eq!(
        error.to_string(),
        "swtpm: host=\"nowhere.invalid\" does not resolve to an address"
    );
}

#[test]
fn an_ipv6_address_is_a_host() {
    for host in ["::1", "[::1]"] {
        let port = rusttcti_kit::ports::free();
        let error = Transport::init(Some(&format!("host={host},port={port}"))).unwrap_err();
        let text = format!("cannot connect to swtpm at [::1]:{port}: connection refused");
        assert!(error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn a_restarted_swtpm_is_found_again() {
    for (mut peer, conf) in peers() {
        let context = open(&conf);
        let tcti = Vtable(context.as_ptr());
        random_bytes(tcti);
        peer.stop();
        let code = match tcti.transmit(&get_random(16)) {
            rc::SUCCESS => tcti.receive(-1).0,
            code => code,
        };
        assert_eq!(code, rc::NO_CONNECTION, "{conf}");
        peer.start();
        random_bytes(tcti);
        // Nothing fails if nothing is sent while it is away.
        peer.stop();
        peer.start();
        // A kept connection is not looked at as long as it is busy.
        std::thread::sleep(Duration::from_millis(60));
        random_bytes(tcti);
    }
}

#[test]
fn a_stopped_swtpm_keeps_no_timeout_waiting() {
    for (peer, conf) in peers() {
        let context = open(&conf);
        let tcti = Vtable(context.as_ptr());
        peer.pause();
        assert_eq!(tcti.transmit(&get_random(16)), rc::SUCCESS, "{conf}");
        assert_eq!(tcti.receive(0).0, rc::TRY_AGAIN, "{conf}");
        assert_eq!(tcti.receive(100).0, rc::TRY_AGAIN, "{conf}");
        peer.resume();
        let (code, response) = tcti.receive(-1);
        assert_eq!((code, response.len()), (rc::SUCCESS, 28), "{conf}");
    }
}

/// The response code of a TPM2_PCR_Reset of PCR 20, which localities 2 and 4 may do.
fn reset_pcr_20(tcti: Vtable) -> u32 {
    let command = CommandBuilder::new(CommandCode::PCR_RESET)
        .handle(Handle(20))
        .empty_password()
        .build();
    assert_eq!(tcti.transmit(&command), rc::SUCCESS);
    let (code, response) = tcti.receive(-1);
    assert_eq!(code, rc::SUCCESS);
    response_code(&response)
}

/// TPM_RC_LOCALITY.
const WRONG_LOCALITY: u32 = 0x907;

#[test]
fn the_locality_is_each_context_s_own() {
    for (_peer, conf) in peers() {
        let (first, second) = (open(&conf), open(&conf));
        let (high, low) = (Vtable(first.as_ptr()), Vtable(second.as_ptr()));
        assert_eq!(reset_pcr_20(high), WRONG_LOCALITY, "{conf}");
        assert_eq!(high.set_locality(2), rc::SUCCESS, "{conf}");
        for _ in 0..3 {
            assert_eq!(reset_pcr_20(high), 0, "{conf}");
            assert_eq!(reset_pcr_20(low), WRONG_LOCALITY, "{conf}");
        }
        assert_eq!(high.set_locality(0), rc::SUCCESS, "{conf}");
        assert_eq!(reset_pcr_20(high), WRONG_LOCALITY, "{conf}");
        // It ends with the context, also in the middle of a command.
        assert_eq!(high.set_locality(3), rc::SUCCESS, "{conf}");
        assert_eq!(high.transmit(&get_random(1)), rc::SUCCESS, "{conf}");
        drop(first);
        assert_eq!(reset_pcr_20(low), WRONG_LOCALITY, "{conf}");
    }
}

#[test]
fn swtpm_has_five_localities() {
    let peer = Swtpm::tcp();
    let context = open(&peer.conf());
    let tcti = Vtable(context.as_ptr());
    for locality in 0..=4 {
        assert_eq!(tcti.set_locality(locality), rc::SUCCESS);
        random_bytes(tcti);
    }
    for locality in [5, 31, 32, 255] {
        assert_eq!(tcti.set_locality(locality), rc::BAD_VALUE);
        random_bytes(tcti);
    }
}

#[test]
fn a_reset_is_a_power_cycle() {
    for (_peer, conf) in peers() {
        let mut tcti = Transport::init(Some(&conf)).expect("swtpm is there");
        let call = |command: &[u8], tcti: &mut Transport| {
            tcti.transmit(command).expect("sent");
            let mut response = [0; 4096];
            let size = tcti.receive(&mut response, None).expect("received");
            response_code(&response[..size])
        };
        assert_eq!(call(&get_random(1), &mut tcti), 0);
        tcti.reset().expect("it has power over it");
        // TPM_RC_INITIALIZE, until it is started.
        assert_eq!(call(&get_random(1), &mut tcti), 0x100, "{conf}");
        assert_eq!(call(&rusttcti_kit::tpm::STARTUP, &mut tcti), 0, "{conf}");
        assert_eq!(call(&get_random(1), &mut tcti), 0, "{conf}");
    }
}

#[test]
fn cancel_and_make_sticky_are_not_there() {
    let peer = Swtpm::tcp();
    let context = open(&peer.conf());
    let tcti = Vtable(context.as_ptr());
    assert_eq!(tcti.transmit(&get_random(1)), rc::SUCCESS);
    assert_eq!(tcti.cancel(), rc::NOT_IMPLEMENTED);
    assert_eq!(tcti.receive(-1).0, rc::SUCCESS);
    assert_eq!(tcti.make_sticky(&mut 0x8000_0000, 1), rc::NOT_IMPLEMENTED);
}
