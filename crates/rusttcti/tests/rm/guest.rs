// SPDX-License-Identifier: BSD-2-Clause
//! The layer over the kernel's resource manager, which has room for three objects and
//! three sessions. `make check-vm` runs these tests in a guest (`--ignored
//! --test-threads=1`).

use std::time::{Duration, Instant};

use rusttcti::wire::CommandCode;
use rusttcti::{Context, Tcti};

use crate::fork::{ended, forked, in_child, work_in_a_child};
use crate::tpm::{NULL, OWNER, User, open};

const KERNEL: &str = "device:/dev/tpmrm0";

fn context(chain: &str) -> User<Context> {
    User(Context::new(open(chain).0))
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn ten_keys_are_loaded_and_used_in_turn_where_the_kernel_has_room_for_three() {
    let mut bare = open(KERNEL);
    let refused = (0..10).find_map(|n| bare.create_primary(NULL, n).err());
    assert_eq!(refused, Some(0x902), "the kernel's room");
    bare.0.finalize().expect("closed");

    for share in ["", ",share=1"] {
        let mut user = open(&format!("rm{share}:{KERNEL}"));
        let keys = user.make_keys(OWNER, 0..10);
        let marks = user.marks(&keys);
        let begun = Instant::now();
        for round in 0..3 {
            for (n, key) in keys.iter().enumerate() {
                let mark = user.hmac(*key, b"x").expect("it works");
                assert_eq!(mark, marks[n], "{share} round {round}, key {n}");
            }
        }
        println!("30 uses of ten keys{share}: {:?}", begun.elapsed());
        for (n, key) in keys.iter().enumerate() {
            assert!(!marks[..n].contains(&marks[n]), "ten keys");
            user.flush(*key).expect("flushed");
            assert_eq!(user.hmac(*key, b"x").expect_err("it is gone"), 0x910);
        }
        user.0.finalize().expect("closed");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn ten_sessions_are_used_in_turn_where_the_kernel_has_room_for_three() {
    for share in ["", ",share=1"] {
        let mut user = open(&format!("rm{share}:{KERNEL}"));
        let sessions: Vec<u32> = (0..10)
            .map(|n| {
                let session = user.start_session(1).expect("a session");
                user.mark(session, n).expect("marked");
                session
            })
            .collect();
        let digests: Vec<_> = sessions
            .iter()
            .map(|session| user.policy_digest(*session).expect("a digest"))
            .collect();
        for _ in 0..3 {
            for (session, digest) in sessions.iter().zip(&digests) {
                assert_eq!(user.policy_digest(*session).as_ref(), Ok(digest), "{share}");
            }
        }
        for session in sessions {
            user.flush(session).expect("flushed");
        }
        user.0.finalize().expect("closed");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn sequences_and_their_copies_run_beside_keys() {
    let mut user = open(&format!("rm:{KERNEL}"));
    let keys = user.make_keys(NULL, 0..3);
    let marks = user.marks(&keys);
    let sequences: Vec<u32> = (0..4).map(|_| user.hash_start().expect("a hash")).collect();
    for sequence in &sequences {
        user.update(*sequence, b"one ").expect("added");
    }
    let copy = user.save(sequences[0]).expect("saved");
    let copy = user.load(&copy).expect("a second one");
    for (n, sequence) in sequences.iter().enumerate() {
        user.update(*sequence, &[n as u8]).expect("added");
    }
    user.update(copy, &[0]).expect("added");
    assert_eq!(user.marks(&keys), marks);
    let digests: Vec<_> = sequences
        .iter()
        .chain([&copy])
        .map(|sequence| user.complete(*sequence).expect("a digest"))
        .collect();
    assert_eq!(digests[0], digests[4]);
    assert_ne!(digests[0], digests[1]);
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn forked_children_go_on_with_their_parent_s_keys() {
    let mut user = context(&format!("rm,fork=1:{KERNEL}"));
    let keys = user.make_keys(OWNER, 0..6);
    let marks = user.marks(&keys);
    let session = user.start_session(1).expect("a session");
    let worker = |user: &mut User<Context>| {
        for (key, mark) in keys.iter().zip(&marks) {
            assert_eq!(user.hmac(*key, b"x").as_ref(), Ok(mark));
        }
        work_in_a_child(user, &keys, &marks, session)
    };
    // As a server: it opens, detaches by a fork, and its workers run at once.
    let code = in_child(|| {
        let workers: Vec<i32> = (0..3).map(|_| forked(|| worker(&mut user))).collect();
        let own = worker(&mut user);
        workers.into_iter().map(ended).sum::<i32>() + own
    });
    assert_eq!(code, 0);
    for (key, mark) in keys.iter().zip(&marks) {
        assert_eq!(user.hmac(*key, b"x").as_ref(), Ok(mark));
    }
    user.policy_digest(session)
        .expect("it lives on in the parent");
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_child_begins_without_a_command_whatever_its_parent_awaits() {
    let mut user = context(&format!("rm,fork=1:{KERNEL}"));
    let get_random = crate::tpm::command(CommandCode::GET_RANDOM, &[&8u16.to_be_bytes()]);
    user.0.transmit(&get_random).expect("it is sent");
    let child = forked(|| {
        user.get_random().expect("a response of its own");
        0
    });
    let length = user
        .0
        .receive(&mut [0; 4096], Some(Duration::from_secs(60)));
    assert_eq!(length.expect("the parent's"), 20);
    assert_eq!(ended(child), 0);
}
