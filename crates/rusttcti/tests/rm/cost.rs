// SPDX-License-Identifier: BSD-2-Clause
//! The cost of the layer while the TPM has room.

use std::time::{Duration, Instant};

use rusttcti::layer::rm::Rm;
use rusttcti::wire::CommandCode;
use rusttcti::{Peer, Tcti};
use rusttcti_kit::alloc::on_this_thread;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::model_tpm::{ModelTpm, Sizes};

use crate::tpm::{NULL, User, command, hmac, open};

/// Sends a command and takes its response, in memory that there is.
fn exchange<T: Tcti>(tcti: &mut T, command: &[u8], response: &mut [u8]) {
    tcti.transmit(command).expect("it is sent");
    tcti.receive(response, Some(Duration::from_secs(9)))
        .expect("a response");
}

#[test]
fn a_command_in_the_steady_state_allocates_nothing() {
    let mut response = [0; 4096];
    let mut count = |chain: &str| {
        let mut user = open(chain);
        let keys = user.make_keys(NULL, 0..3);
        let session = user.start_session(1).expect("a session");
        let commands: Vec<_> = keys
            .iter()
            .map(|key| hmac(*key, b"x"))
            .chain([command(
                CommandCode::POLICY_GET_DIGEST,
                &[&session.to_be_bytes()],
            )])
            .collect();
        for command in &commands {
            exchange(&mut user.0, command, &mut response);
        }
        on_this_thread(|| {
            for command in commands.iter().cycle().take(400) {
                exchange(&mut user.0, command, &mut response);
            }
        })
    };
    let (bare, managed) = (count("libtpms"), count("rm:libtpms"));
    assert_eq!(managed, bare, "allocations in 400 commands");
}

/// A small TPM that no other program can use, and its user.
fn alone() -> (ModelTpm, User<Rm>) {
    let tpm = ModelTpm::new(Sizes::SMALL);
    let peer = Peer {
        is_exclusive: true,
        ..Peer::default()
    };
    let below = tpm.clone().with_peer(peer);
    let user = User(Rm::builder().open(below).expect("it opens"));
    (tpm, user)
}

#[test]
fn the_tpm_runs_one_command_for_one_of_the_program_s() {
    let (tpm, mut user) = alone();
    let keys = user.make_keys(NULL, 0..3);
    let sessions: Vec<_> = (0..3)
        .map(|_| user.start_session(1).expect("a session"))
        .collect();
    tpm.take_commands();
    for round in 0..300 {
        user.read_public(keys[round % 3]).expect("it is there");
        user.policy_digest(sessions[round % 3])
            .expect("it is there");
    }
    assert_eq!(tpm.take_commands().len(), 600);
    // An object made and flushed in between takes two of the engine's own, at most.
    for _ in 0..100 {
        let key = user.create_primary(NULL, 9).expect("a key");
        user.flush(key).expect("it goes");
    }
    let sent = tpm.take_commands().len();
    assert!(sent <= 220, "{sent} for 200");
}

#[test]
fn six_objects_in_turn_on_three_places_take_three_commands_each() {
    let (tpm, mut user) = alone();
    let keys = user.make_keys(NULL, 0..6);
    for key in &keys {
        user.read_public(*key).expect("it is there");
    }
    tpm.take_commands();
    for round in 0..600 {
        user.read_public(keys[round % 6]).expect("it is there");
    }
    // A flush (the context exists already), a load, and the command; now and then
    // one more, to see whether the TPM has more room.
    let sent = tpm.take_commands().len();
    assert!(sent <= 1810, "{sent} for 600");
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture costs"]
fn costs() {
    for chain in [
        "libtpms",
        "rm:libtpms",
        "rm,share=1:libtpms",
        "rm,fork=1:libtpms",
    ] {
        let mut user = open(chain);
        let key = user.create_primary(NULL, 1).expect("a key");
        let mut response = [0; 4096];
        for (name, command) in [("GetRandom", get_random(16)), ("HMAC", hmac(key, b"x"))] {
            let once = |user: &mut User, response: &mut [u8]| {
                let start = Instant::now();
                for _ in 0..1000 {
                    exchange(&mut user.0, &command, response);
                }
                start.elapsed() / 1000
            };
            // The shortest time, because other programs on this machine can only add to
            // it.
            let best = (0..60).map(|_| once(&mut user, &mut response)).min();
            println!("{chain} {name}: {:?}", best.expect("some"));
        }
    }
}
