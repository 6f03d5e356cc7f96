// SPDX-License-Identifier: BSD-2-Clause
//! `wait=SECONDS`: the transport waits for a peer that is not there yet, or is being
//! restarted.
//!
//! The scene opens the chain and sends a command. It sends another one when the test
//! writes to its standard input. The test stops the peer in between, and starts it
//! again when the scene's log shows that it waits.

use std::io::stdin;

use rusttcti::{ErrorKind, open};
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{STARTUP, call, ok};

use crate::scene::{CHAIN, Scene};

const WAITS: &str = "waiting up to 60 s, by wait=60: ";

#[test]
#[ignore = "a scene of other tests"]
fn scene_two_commands() {
    let mut tcti = open(&std::env::var(CHAIN).expect("a chain")).expect("it opens");
    for _ in 0..2 {
        // It answers that it is started already, or not: swtpm starts it itself.
        call(&mut *tcti, &STARTUP).expect("a response");
        ok(&mut *tcti, &get_random(8));
        eprintln!("DONE");
        stdin().read_line(&mut String::new()).expect("a line");
    }
}

/// Runs the scene, whose first and second command each meet a peer that is away.
fn two_commands_meet(chain: &str, address: &str, mut stop: impl FnMut(), mut start: impl FnMut()) {
    let mut scene = Scene::start(module_path!(), "scene_two_commands", chain);
    for _ in 0..2 {
        let line = scene.line(|line| line.contains(WAITS));
        assert!(line.starts_with("INFO:tcti:"), "{line}");
        assert!(line.contains(address), "{line}");
        start();
        scene.line(|line| line.contains("DONE"));
        stop();
        scene.go_on();
    }
    scene.ends();
}

#[test]
fn a_swtpm_that_is_away_when_opened_or_between_commands_is_waited_for() {
    for persistent in ["", ",persistent=1"] {
        for mut swtpm in [Swtpm::tcp(), Swtpm::unix()] {
            swtpm.stop();
            let chain = format!("swtpm:{},wait=60{persistent}", swtpm.conf());
            let swtpm = std::cell::RefCell::new(swtpm);
            two_commands_meet(
                &chain,
                "swtpm at ",
                || swtpm.borrow_mut().stop(),
                || swtpm.borrow_mut().start(),
            );
        }
    }
}

#[test]
fn a_simulator_that_is_away_when_opened_or_between_commands_is_waited_for() {
    let mut simulator = Simulator::tcp();
    let chain = format!("mssim:{},wait=60", simulator.conf());
    let address = simulator.stop();
    let simulator = std::cell::RefCell::new(simulator);
    two_commands_meet(
        &chain,
        "mssim at ",
        || drop(simulator.borrow_mut().stop()),
        || simulator.borrow_mut().start_at(&address),
    );
}

#[test]
fn a_command_that_was_sent_to_a_peer_that_ends_is_not_sent_again() {
    let mut swtpm = Swtpm::tcp();
    let mut tcti = open(&format!("swtpm:{},wait=60", swtpm.conf())).expect("swtpm");
    swtpm.pause();
    tcti.transmit(&get_random(8)).expect("sent");
    swtpm.stop();
    swtpm.start();
    let error = tcti.receive(&mut [0; 4096], None).expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    let response = call(&mut *tcti, &get_random(8)).expect("a response");
    assert_eq!(response_code(&response), 0);
}

#[test]
fn a_peer_that_does_not_come_is_told_with_how_long_it_was_waited_for() {
    let port = rusttcti_kit::ports::free();
    for transport in ["swtpm", "mssim"] {
        let error = open(&format!("{transport}:port={port},wait=1")).err();
        let error = error.expect("nobody is there");
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to {transport} at localhost:{port}: connection refused (is \
                 {transport} running there?) (waited 1 s, by wait=1)"
            )
        );
    }
}
