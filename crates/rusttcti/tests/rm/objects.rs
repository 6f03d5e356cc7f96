// SPDX-License-Identifier: BSD-2-Clause
//! Objects and sessions, over an embedded TPM.

use crate::tpm::{NULL, OWNER, WRONG_TYPE, open};

const TRANSIENT: u32 = 0x8000_0000;
const LOADED: u32 = 0x0200_0000;
const SAVED: u32 = 0x0300_0000;

#[test]
fn twenty_objects_live_at_once_and_each_stays_itself() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms", "rm,fork=1:libtpms"] {
        let mut user = open(chain);
        let keys = user.make_keys(OWNER, 0..20);
        let marks = user.marks(&keys);
        for (n, mark) in marks.iter().enumerate() {
            assert_eq!(
                marks.iter().filter(|other| *other == mark).count(),
                1,
                "{chain}: {n}"
            );
        }
        for round in 0..40 {
            let at = round * 7 % keys.len();
            assert_eq!(
                user.hmac(keys[at], b"x").as_ref(),
                Ok(&marks[at]),
                "{chain}"
            );
        }
        assert_eq!(
            user.handles(TRANSIENT, 254),
            (keys.clone(), false),
            "{chain}"
        );
        assert_eq!(
            user.handles(keys[3], 4),
            (keys[3..7].to_vec(), true),
            "{chain}"
        );
        user.flush(keys[5]).expect("it goes");
        assert_eq!(user.hmac(keys[5], b"x"), Err(0x910), "{chain}");
        assert_eq!(user.flush(keys[5]), Err(0x1cb), "{chain}");
        assert_eq!(user.hmac(keys[6], b"x").as_ref(), Ok(&marks[6]), "{chain}");
    }
}

#[test]
fn sixty_four_sessions_live_at_once() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms"] {
        let mut user = open(chain);
        let sessions: Vec<_> = (0..64)
            .map(|_| user.start_session(1).expect("a session"))
            .collect();
        assert_eq!(user.start_session(1), Err(0x905), "{chain}: the TPM has 64");
        for (n, session) in sessions.iter().enumerate() {
            user.mark(*session, n as u8).expect("it is there");
        }
        let digests: Vec<_> = sessions
            .iter()
            .map(|s| user.policy_digest(*s).expect("a digest"))
            .collect();
        for (n, digest) in digests.iter().enumerate() {
            assert_eq!(
                digests.iter().filter(|other| *other == digest).count(),
                1,
                "{chain}: {n}"
            );
        }
        assert_eq!(
            user.handles(LOADED, 254),
            (sessions.clone(), false),
            "{chain}"
        );
        assert_eq!(user.handles(SAVED, 254), (vec![], false), "{chain}");
        user.flush(sessions[9]).expect("it goes");
        assert_eq!(user.policy_digest(sessions[9]), Err(0x910), "{chain}");
        assert_eq!(
            user.policy_digest(sessions[10]).as_ref(),
            Ok(&digests[10]),
            "{chain}"
        );
    }
}

#[test]
fn a_sequence_that_is_saved_and_loaded_is_a_second_one() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms"] {
        let mut user = open(chain);
        let first = user.hash_start().expect("a sequence");
        user.update(first, b"ab").expect("an update");
        let context = user.save(first).expect("a context");
        let second = user.load(&context).expect("a copy");
        // Others push both out.
        let keys = user.make_keys(NULL, 0..5);
        user.update(first, b"c").expect("an update");
        user.update(second, b"d").expect("an update");
        for key in &keys {
            user.hmac(*key, b"x").expect("it works");
        }
        user.update(first, b"e").expect("an update");
        let mut plain = open("libtpms");
        let mut digest = |text: &[u8]| {
            let sequence = plain.hash_start().expect("a sequence");
            plain.update(sequence, text).expect("an update");
            plain.complete(sequence).expect("a digest")
        };
        assert_eq!(user.complete(first), Ok(digest(b"abce")), "{chain}");
        assert_eq!(user.complete(second), Ok(digest(b"abd")), "{chain}");
        assert_eq!(
            user.update(first, b"x"),
            Err(0x910),
            "{chain}: it is complete"
        );
    }
}

#[test]
fn a_saved_session_is_refused_until_it_is_loaded_and_its_context_loads_once() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms"] {
        let mut user = open(chain);
        let session = user.start_session(1).expect("a session");
        user.mark(session, 7).expect("it is there");
        let digest = user.policy_digest(session).expect("a digest");
        let context = user.save(session).expect("a context");
        assert_eq!(user.policy_digest(session), Err(0x910), "{chain}");
        assert_eq!(
            user.handles(SAVED, 9).0,
            [LOADED | session & 0xff_ffff],
            "{chain}"
        );
        assert_eq!(user.handles(LOADED, 9).0, [], "{chain}");
        assert_eq!(user.load(&context), Ok(session), "{chain}");
        assert_eq!(user.policy_digest(session), Ok(digest), "{chain}");
        assert_eq!(user.load(&context), Err(0x1cb), "{chain}: it loads once");
        user.policy_digest(session).expect("it is still there");
    }
}

#[test]
fn clear_ends_the_owner_s_objects_and_no_others() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms"] {
        let mut user = open(chain);
        let owned = user.make_keys(OWNER, 0..5);
        let others = user.make_keys(NULL, 0..5);
        let marks = user.marks(&others);
        user.clear().expect("the TPM is cleared");
        assert_eq!(user.handles(TRANSIENT, 99).0, others, "{chain}");
        for key in &owned {
            assert_eq!(user.hmac(*key, b"x"), Err(0x910), "{chain}");
        }
        for (key, mark) in others.iter().zip(&marks) {
            assert_eq!(user.hmac(*key, b"x").as_ref(), Ok(mark), "{chain}");
        }
        let fresh = user.create_primary(OWNER, 0).expect("a key");
        assert!(
            !owned.contains(&fresh),
            "{chain}: a lost handle comes again"
        );
    }
}

#[test]
fn a_disabled_hierarchy_s_objects_are_gone_also_when_it_comes_back() {
    let mut user = open("rm:libtpms");
    let owned = user.make_keys(OWNER, 0..5);
    user.hierarchy_control(OWNER, true)
        .expect("it is on already");
    for key in &owned {
        user.hmac(*key, b"x").expect("it is there");
    }
    user.hierarchy_control(OWNER, false).expect("it is off");
    user.hierarchy_control(OWNER, true).expect("it is on");
    assert_eq!(user.handles(TRANSIENT, 99).0, []);
    for key in &owned {
        assert_eq!(user.hmac(*key, b"x"), Err(0x910));
    }
}

#[test]
fn a_reset_ends_everything_and_new_objects_work() {
    for chain in ["rm:libtpms", "rm,share=1:libtpms"] {
        let mut user = open(chain);
        let keys = user.make_keys(NULL, 0..6);
        let session = user.start_session(0).expect("a session");
        rusttcti::Tcti::reset(&mut user.0).expect("a power cycle");
        for key in &keys {
            assert_eq!(user.hmac(*key, b"x"), Err(0x910), "{chain}");
        }
        assert_eq!(user.handles(TRANSIENT, 99).0, [], "{chain}");
        let key = user.create_primary(NULL, 1).expect("a key");
        assert!(!keys.contains(&key), "{chain}");
        assert_eq!(user.hmac_by(session, key, b"x"), Err(0x918), "{chain}");
        user.hmac(key, b"x").expect("it works");
    }
}

#[test]
fn properties_tell_of_room() {
    let mut user = open("rm:libtpms");
    for n in 0..5 {
        user.create_primary(NULL, n).expect("a key");
    }
    assert!(user.property(0x207) > 3, "HR_TRANSIENT_AVAIL");
    assert_eq!(user.property(0x114), u32::MAX, "CONTEXT_GAP_MAX");
    assert_eq!(user.property(0x203), 0, "HR_LOADED");
}

#[test]
fn unknown_handles_are_refused_as_the_tpm_does() {
    let mut user = open("rm:libtpms");
    let key = user.create_primary(NULL, 0).expect("a key");
    for handle in [TRANSIENT, TRANSIENT + 1, key + 1, 0x80ff_ffff] {
        assert_eq!(user.hmac(handle, b"x"), Err(0x910), "{handle:x}");
        assert_eq!(user.flush(handle), Err(0x1cb), "{handle:x}");
        assert_eq!(user.save(handle), Err(0x910), "{handle:x}");
    }
    assert_eq!(user.hmac_by(0x0200_0001, key, b"x"), Err(0x918));
    assert_eq!(user.policy_digest(0x0300_0001), Err(0x910));
    user.hmac(key, b"x").expect("it works");
}

#[test]
fn a_handle_of_the_wrong_type_gets_the_tpm_s_own_code() {
    let mut plain = open("libtpms");
    let mut managed = open("rm:libtpms");
    let wrong = WRONG_TYPE.0;
    for session in [LOADED, LOADED | 5, SAVED, SAVED | 5] {
        assert_eq!(plain.read_public(session), Err(wrong));
        assert_eq!(managed.read_public(session), Err(wrong), "0x{session:08x}");
    }
    for (kind, code) in [(0, Err(wrong)), (1, Ok(()))] {
        for user in [&mut plain, &mut managed] {
            let session = user.start_session(kind).expect("a session");
            assert_eq!(user.policy_digest(session).map(drop), code, "{kind}");
        }
    }
    for user in [&mut plain, &mut managed] {
        assert_eq!(user.policy_digest(TRANSIENT), Err(wrong));
    }
}
