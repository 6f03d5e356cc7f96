// SPDX-License-Identifier: BSD-2-Clause
//! An attacker on the bus: messages that are changed, replayed, swapped, stripped or
//! invented never reach the program, and the next command works again.

use std::sync::{Arc, Mutex};

use rusttcti::wire::{CommandCode, ResponseBuilder, ResponseCode};
use rusttcti::{Error, ErrorKind, Result};

use crate::tpm::*;

const INDEX: u32 = 0x0180_0001;

/// A TPM with an object, an index and a policy session, all of the program's.
struct Scene {
    bench: Bench,
    key: u32,
    policy: u32,
}

impl Scene {
    fn new() -> Self {
        let mut bench = Bench::new("key=null");
        let key = word(&bench.ok(&create_primary(OWNER, &[], b"key auth")));
        bench.ok(&define(INDEX, b"nv auth", 8));
        bench.ok(&nv_write(INDEX, b"nv auth", b"8 bytes."));
        let policy = word(&bench.ok(&start_session(1, 0x10)));
        Self { bench, key, policy }
    }

    /// Commands whose success leaves nothing behind in the TPM.
    fn harmless(&self) -> Vec<(&'static str, Vec<u8>)> {
        let pcrs = [0, 0, 0, 1, 0, 0x0b, 3, 1, 0, 0];
        let digest = [0, 0, 0, 1, 0, 0x0b]
            .into_iter()
            .chain([7; 32])
            .collect::<Vec<u8>>();
        vec![
            ("GetRandom", get_random(20)),
            (
                "GetCapability",
                plain(
                    CommandCode::GET_CAPABILITY,
                    &[],
                    &[0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 4],
                ),
            ),
            ("ReadClock", plain(CommandCode::READ_CLOCK, &[], &[])),
            (
                "ReadPublic",
                plain(CommandCode::READ_PUBLIC, &[self.key], &[]),
            ),
            (
                "NV_ReadPublic",
                plain(CommandCode::NV_READ_PUBLIC, &[INDEX], &[]),
            ),
            ("NV_Read", nv_read(INDEX, b"nv auth", 8)),
            ("NV_Write", nv_write(INDEX, b"nv auth", b"8 bytes!")),
            ("PCR_Read", plain(CommandCode::PCR_READ, &[], &pcrs)),
            (
                "PCR_Extend",
                with_passwords(CommandCode::PCR_EXTEND, &[16], &[&[]], &digest),
            ),
            (
                "PCR_Reset",
                with_passwords(CommandCode::PCR_RESET, &[16], &[&[]], &[]),
            ),
            (
                "Hash",
                plain(
                    CommandCode::HASH,
                    &[],
                    &[&sized(b"abc")[..], &[0, 0x0b, 0x40, 0, 0, 7]].concat(),
                ),
            ),
            (
                "StirRandom",
                plain(CommandCode::STIR_RANDOM, &[], &sized(b"entropy")),
            ),
            ("SelfTest", plain(CommandCode::SELF_TEST, &[], &[0])),
            (
                "GetTestResult",
                plain(CommandCode::GET_TEST_RESULT, &[], &[]),
            ),
            (
                "PolicyGetDigest",
                plain(CommandCode::POLICY_GET_DIGEST, &[self.policy], &[]),
            ),
            (
                "PolicyRestart",
                plain(CommandCode::POLICY_RESTART, &[self.policy], &[]),
            ),
            (
                "Create",
                create_sealed(self.key, b"key auth", b"x", b"sealed"),
            ),
            (
                "ECC_Parameters",
                plain(CommandCode::ECC_PARAMETERS, &[], &[0, 3]),
            ),
            (
                "TestParms",
                plain(CommandCode::TEST_PARMS, &[], &[0, 8, 0, 0x10]),
            ),
            (
                "HierarchyChangeAuth",
                with_passwords(
                    CommandCode::HIERARCHY_CHANGE_AUTH,
                    &[ENDORSEMENT],
                    &[&[]],
                    &sized(&[]),
                ),
            ),
            (
                "DictionaryAttackLockReset",
                with_passwords(
                    CommandCode::DICTIONARY_ATTACK_LOCK_RESET,
                    &[LOCKOUT],
                    &[&[]],
                    &[],
                ),
            ),
            (
                "ECDH_KeyGen",
                plain(CommandCode::ECDH_KEY_GEN, &[self.key], &[]),
            ),
        ]
    }
}

pub fn start_session(kind: u8, symmetric: u16) -> Vec<u8> {
    let mut parameters = sized(&[0x11; 32]);
    parameters.extend_from_slice(&sized(&[]));
    parameters.push(kind);
    parameters.extend_from_slice(&symmetric.to_be_bytes());
    if symmetric == 6 {
        parameters.extend_from_slice(&[0, 128, 0, 0x43]);
    }
    parameters.extend_from_slice(&[0, 0x0b]);
    plain(CommandCode::START_AUTH_SESSION, &[NULL, NULL], &parameters)
}

/// Returns the error that the program got instead of a response.
fn detected(outcome: Result<Vec<u8>>, what: &str) -> Error {
    match outcome {
        Ok(response) => panic!("{what}: the program saw {response:02x?}"),
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::IoError | ErrorKind::MalformedResponse),
                "{what}: {error:?}"
            );
            error
        }
    }
}

#[test]
fn twenty_commands_work_with_nobody_on_the_bus() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        assert_eq!(scene.bench.rc(&command), 0, "{name}");
    }
}

#[test]
fn every_bit_of_the_responses_to_twenty_commands_is_guarded() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        let wanted = command_code(&command);
        let mut bit = 0;
        loop {
            let length = Arc::new(Mutex::new(0));
            let seen = length.clone();
            scene.bench.meddler.on_response(move |sent, response| {
                if command_code(sent) == wanted && sent.len() > 12 {
                    *seen.lock().expect("unpoisoned") = response.len();
                    // GetRandom is also the layer's own first command of a session.
                    if let Some(byte) = response.get_mut(bit / 8) {
                        *byte ^= 0x80 >> (bit % 8);
                    }
                }
            });
            let outcome = scene.bench.run(&command);
            scene.bench.meddler.stop();
            let length = *length.lock().expect("unpoisoned");
            assert_ne!(length, 0, "{name}");
            if bit >= 8 * length {
                assert!(outcome.is_ok(), "{name}: {outcome:?}");
                break;
            }
            detected(outcome, &format!("{name}, bit {bit} of {}", 8 * length));
            // Another command works at once, on a new session.
            if bit % 61 == 0 {
                scene.bench.ok(&get_random(4));
            }
            bit += 1;
        }
    }
}

#[test]
fn a_response_that_was_seen_before_is_not_taken_again() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        scene.bench.recording.clear();
        scene.bench.ok(&command);
        let (_, old) = scene.bench.recording.all().pop().expect("a response");
        scene
            .bench
            .meddler
            .on_response(move |_, response| *response = old.clone());
        detected(scene.bench.run(&command), name);
        scene.bench.meddler.stop();
        scene.bench.ok(&command);
    }
}

#[test]
fn responses_of_two_commands_cannot_be_swapped() {
    let mut scene = Scene::new();
    let commands = scene.harmless();
    for (name, command) in &commands {
        scene.bench.recording.clear();
        // Whatever else succeeds next with the session.
        scene.bench.ok(&plain(CommandCode::READ_CLOCK, &[], &[]));
        let (_, other) = scene.bench.recording.all().pop().expect("a response");
        scene
            .bench
            .meddler
            .on_response(move |_, response| *response = other.clone());
        detected(scene.bench.run(command), name);
        scene.bench.meddler.stop();
        scene.bench.ok(command);
    }
}

/// Returns a response without its sessions.
fn stripped(response: &[u8]) -> Vec<u8> {
    if response[..2] == [0x80, 0x01] {
        return response.to_vec();
    }
    let size = word(&response[10..]) as usize;
    let body = &response[14..14 + size];
    ResponseBuilder::new(ResponseCode::SUCCESS)
        .bytes(body)
        .build()
}

#[test]
fn a_response_without_its_session_or_an_invented_one_is_refused() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        let wanted = command_code(&command);
        scene.bench.meddler.on_response(move |sent, response| {
            if command_code(sent) == wanted {
                *response = stripped(response);
            }
        });
        detected(scene.bench.run(&command), name);
        scene.bench.meddler.on_response(move |sent, response| {
            if command_code(sent) != wanted || response[..2] == [0x80, 0x01] {
                return;
            }
            // The right form, with an empty HMAC.
            let size = word(&response[10..]) as usize;
            response.truncate(14 + size);
            response.extend_from_slice(&[0, 0, 1, 0, 0]);
            let length = response.len() as u32;
            response[2..6].copy_from_slice(&length.to_be_bytes());
        });
        detected(scene.bench.run(&command), name);
        scene.bench.meddler.on_response(move |sent, response| {
            if command_code(sent) == wanted {
                *response = refusal(0);
            }
        });
        detected(scene.bench.run(&command), name);
        scene.bench.meddler.stop();
        scene.bench.ok(&command);
    }
}

#[test]
fn every_byte_of_a_command_that_is_changed_on_the_way_is_found_out() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        if name == "DictionaryAttackLockReset" {
            // One wrong authorization locks the lockout hierarchy itself.
            continue;
        }
        let wanted = command_code(&command);
        let mut at = 10;
        loop {
            let length = Arc::new(Mutex::new(0));
            let seen = length.clone();
            scene.bench.meddler.on_command(move |sent| {
                let mut seen = seen.lock().expect("unpoisoned");
                if command_code(sent) == wanted && *seen == 0 && sent.len() > 12 {
                    *seen = sent.len();
                    if let Some(byte) = sent.get_mut(at) {
                        *byte ^= 0x10;
                    }
                }
            });
            let outcome = scene.bench.run(&command);
            scene.bench.meddler.stop();
            let length = *length.lock().expect("unpoisoned");
            if at >= length {
                assert!(outcome.is_ok(), "{name}: {outcome:?}");
                break;
            }
            // The TPM refuses it, and so the program sees a refusal, or the
            // layer found the reason and sent it again.
            if let Ok(response) = &outcome {
                let untouched = response_code(response) != 0 || scene.bench.rc(&command) == 0;
                assert!(untouched, "{name}, byte {at}");
            }
            assert_eq!(scene.bench.rc(&command), 0, "{name}, after byte {at}");
            at += 1;
        }
    }
}

#[test]
fn a_forged_refusal_of_the_session_never_makes_a_command_go_without_it() {
    // A session's: authorization failed, gone, bad attributes; the command takes
    // none; no place for another; the command is not known.
    // The layer sends these without a session too: it learns Names and room by them.
    let learns = [
        CommandCode::READ_PUBLIC,
        CommandCode::NV_READ_PUBLIC,
        CommandCode::GET_CAPABILITY,
    ];
    for forged in [
        0x98e,
        0x9a2,
        0x918,
        0x919,
        0x98b,
        0x982,
        0x984,
        0x903,
        0x905,
        ResponseCode::AUTH_CONTEXT.0,
        ResponseCode::COMMAND_CODE.0,
        ResponseCode::AUTH_MISSING.0,
    ] {
        let mut scene = Scene::new();
        for (name, command) in scene.harmless() {
            let wanted = command_code(&command);
            scene.bench.recording.clear();
            scene.bench.meddler.on_response(move |sent, response| {
                if command_code(sent) == wanted {
                    *response = refusal(forged);
                }
            });
            let outcome = scene.bench.run(&command);
            scene.bench.meddler.stop();
            if let Ok(response) = outcome {
                assert_ne!(response_code(&response), 0, "{name}, {forged:x}");
            }
            for (sent, _) in scene.bench.recording.all() {
                if command_code(&sent) == wanted && !learns.contains(&wanted) {
                    assert_eq!(
                        sent[..2],
                        [0x80, 0x02],
                        "{name}, {forged:x}: without a session"
                    );
                    let auth = with_passwords(wanted, &[], &[b"key auth"], &[]);
                    assert!(
                        !sent.windows(8).any(|w| w == &auth[23..31]),
                        "{name}: a password"
                    );
                }
            }
            scene.bench.ok(&command);
        }
    }
}

#[test]
fn an_error_forged_after_the_command_ran_is_recovered_from_at_the_next_one() {
    let mut scene = Scene::new();
    for (name, command) in scene.harmless() {
        scene
            .bench
            .meddler
            .on_response(|_, response| *response = refusal(0x922));
        assert_eq!(scene.bench.rc(&command), 0x922, "{name}");
        scene.bench.meddler.stop();
        scene.bench.ok(&command);
    }
}

#[test]
fn a_salt_key_that_was_replaced_is_found_out_before_a_command_is_sent() {
    // The impostor has a key of its own, with a Name that fits it.
    let mut other = rusttcti::open("libtpms").expect("libtpms");
    let request = create_primary(NULL, &[], &[]);
    let impostor = run(&mut other, &request).expect("a response");
    let mut bench = Bench::new("key=null");
    bench.meddler.on_response(move |sent, response| {
        if command_code(sent) == CommandCode::CREATE_PRIMARY {
            let handle = response[10..14].to_vec();
            *response = impostor.clone();
            response[10..14].copy_from_slice(&handle);
        }
    });
    let error = detected(bench.run(&get_random(16)), "an impostor's key");
    assert!(
        error.to_string().contains("does not hold the salt key"),
        "{error}"
    );
    let sent = bench.recording.codes();
    assert_eq!(
        sent.iter()
            .filter(|code| **code == CommandCode::GET_RANDOM)
            .count(),
        1,
        "the probe: {sent:?}"
    );
    bench.meddler.stop();
    bench.ok(&get_random(16));
}

#[test]
fn another_null_primary_than_at_first_is_refused_with_the_remedy() {
    let mut bench = Bench::new("key=null");
    bench.ok(&get_random(16));
    use rusttcti::Tcti;
    // The embedded TPM starts itself after its power cycle.
    bench.tpm.reset().expect("a power cycle");
    let error = detected(bench.run(&get_random(16)), "after a reset");
    assert!(error.to_string().contains("was reset"), "{error}");
}

#[test]
fn a_name_that_was_noted_is_compared() {
    let name = {
        let mut tpm = rusttcti::open("libtpms").expect("libtpms");
        let made = run(&mut tpm, &create_primary(NULL, &[], &[])).expect("a response");
        let (public, _) = split(&made[18..]);
        assert_eq!(public[..2], [0, 0x23]);
        "000b".to_owned() + &"5a".repeat(32)
    };
    let mut bench = Bench::new(&format!("key=null,name={name}"));
    let error = detected(bench.run(&get_random(16)), "another name");
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn a_transient_handle_that_is_redirected_names_another_object_and_is_refused() {
    let mut bench = Bench::new("key=null");
    let parent = word(&bench.ok(&create_primary(OWNER, &[], b"auth")));
    let other = word(&bench.ok(&create_primary(ENDORSEMENT, &[], b"auth")));
    // On the way in.
    bench.meddler.on_command(move |sent| {
        if command_code(sent) == CommandCode::CREATE {
            sent[10..14].copy_from_slice(&other.to_be_bytes());
        }
    });
    let rc = bench.rc(&create_sealed(parent, b"auth", &[], b"data"));
    assert!([0x98e, 0x9a2].contains(&rc), "{rc:x}");
    bench.meddler.stop();
    bench.ok(&create_sealed(parent, b"auth", &[], b"data"));
    // On the way out: the program gets the handle of another object.
    bench.ok(&flush(parent));
    bench.meddler.on_response(move |sent, response| {
        if command_code(sent) == CommandCode::CREATE_PRIMARY {
            response[10..14].copy_from_slice(&other.to_be_bytes());
        }
    });
    let told = word(&bench.ok(&create_primary(OWNER, &[], b"auth")));
    bench.meddler.stop();
    assert_eq!(told, other);
    let rc = bench.rc(&create_sealed(told, b"auth", &[], b"data"));
    assert!([0x98e, 0x9a2].contains(&rc), "{rc:x}");
}

#[test]
fn another_index_than_the_one_asked_for_is_refused() {
    let mut bench = Bench::new("key=null");
    for index in [INDEX, INDEX + 1] {
        bench.ok(&define(index, b"nv auth", 8));
        bench.ok(&nv_write(index, b"nv auth", b"8 bytes."));
    }
    bench.meddler.on_command(|sent| {
        let other = INDEX.to_be_bytes();
        for at in (10..sent.len().saturating_sub(3)).take(5) {
            if sent[at..at + 4] == other {
                sent[at + 3] += 1;
            }
        }
    });
    detected(
        bench.run(&nv_read(INDEX, b"nv auth", 8)),
        "a redirected index",
    );
    bench.meddler.stop();
    bench.ok(&nv_read(INDEX, b"nv auth", 8));
}
