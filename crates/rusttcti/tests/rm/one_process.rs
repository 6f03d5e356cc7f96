// SPDX-License-Identifier: BSD-2-Clause
//! Several contexts of one process on one TPM, and commands that are cancelled.

use std::time::Duration;

use rusttcti::wire::{CommandCode, SessionAttributes};
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::get_random;

use crate::tpm::{NULL, PASSWORD, authorized, hmac, open, primary_of};

fn receive(tcti: &mut impl Tcti) -> Vec<u8> {
    let mut response = vec![0; 4096];
    let length = tcti.receive(&mut response, Some(Duration::from_secs(30)));
    response.truncate(length.expect("a response"));
    response
}

#[test]
fn contexts_of_one_process_share_the_room_and_see_only_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = format!("rm:libtpms:{}", folder.path().join("tpm").display());
    let (mut first, mut second) = (open(&chain), open(&chain));
    let ours = first.make_keys(NULL, 0..5);
    let theirs: Vec<_> = (0..4)
        .map(|n| second.create_primary(NULL, 50 + n).expect("a key"))
        .collect();
    assert_eq!(first.handles(0x8000_0000, 99).0, ours);
    assert_eq!(second.handles(0x8000_0000, 99).0, theirs);
    let session = first.start_session(1).expect("a session");
    assert_eq!(second.policy_digest(session), Err(0x910));
    assert_eq!(second.handles(0x0200_0000, 99).0, []);
    assert_eq!(second.hmac(ours[4], b"x"), Err(0x910));
    let marks = [&ours, &theirs].map(|keys| keys.len());
    assert_eq!(marks, [5, 4]);
    drop(first);
    for key in &theirs {
        second.hmac(*key, b"x").expect("it is there");
    }
}

#[test]
fn a_second_rm_in_one_chain_is_refused() {
    for chain in [
        "rm:rm:libtpms",
        "rm:trace,file=/dev/null:rm,share=1:libtpms",
    ] {
        let error = rusttcti::open(chain).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::BadValue, "{chain}");
        assert!(error.to_string().contains("one is enough"), "{error}");
    }
}

#[test]
fn one_thread_may_await_two_contexts_in_any_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = format!("rm:libtpms:{}", folder.path().join("tpm").display());
    let mut users = [open(&chain), open(&chain)];
    let keys: Vec<Vec<_>> = users
        .iter_mut()
        .zip([0, 100])
        .map(|(user, from)| user.make_keys(NULL, from..from + 4))
        .collect();
    let marks: Vec<Vec<_>> = users
        .iter_mut()
        .zip(&keys)
        .map(|(user, keys)| user.marks(keys))
        .collect();
    for round in 0..40 {
        for (user, keys) in users.iter_mut().zip(&keys) {
            let command = hmac(keys[round % 4], b"x");
            user.0.transmit(&command).expect("it is sent, or waits");
        }
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for at in order {
            let response = receive(&mut users[at].0);
            assert_eq!(response[16..48], marks[at][round % 4], "round {round}");
        }
    }
}

#[test]
fn a_cancelled_command_is_answered_so_and_what_it_needed_stays_usable() {
    let mut user = open("rm:libtpms");
    let keys = user.make_keys(NULL, 0..5);
    // An RSA key takes long, and needs a place: something is evicted first.
    let template = [
        &[0, 1, 0, 0x0b][..],
        &0x0004_0072u32.to_be_bytes(),
        &[0, 0, 0, 0x10, 0, 0x10, 8, 0, 0, 0, 0, 0, 0, 2, 1, 2],
    ]
    .concat();
    for _ in 0..5 {
        let parameters = primary_of(&template);
        let create = authorized(
            CommandCode::CREATE_PRIMARY,
            NULL,
            PASSWORD,
            SessionAttributes::NONE,
            &parameters,
        );
        user.0.transmit(&create).expect("it is sent");
        let cancel = user.0.canceller().expect("a canceller");
        cancel.cancel().expect("it is cancelled");
        let response = receive(&mut user.0);
        let code = u32::from_be_bytes(response[6..10].try_into().expect("four bytes"));
        assert!(code == 0x909 || code == 0, "{code:x}");
        for key in &keys {
            user.hmac(*key, b"x").expect("it is there");
        }
    }
}

#[test]
fn a_context_that_awaits_a_response_can_be_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = format!("rm:libtpms:{}", folder.path().join("tpm").display());
    let (mut first, mut second) = (open(&chain), open(&chain));
    let key = first.create_primary(NULL, 1).expect("a key");
    first.0.transmit(&hmac(key, b"x")).expect("it is sent");
    second.0.transmit(&get_random(8)).expect("it waits");
    drop(first);
    assert_eq!(receive(&mut second.0).len(), 20);
    let early = second
        .0
        .receive(&mut [0; 4096], None)
        .expect_err("nothing was sent");
    assert_eq!(early.kind(), ErrorKind::BadSequence);
    assert_eq!(second.handles(0x8000_0000, 9).0, []);
}
