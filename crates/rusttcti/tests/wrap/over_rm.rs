// SPDX-License-Identifier: BSD-2-Clause
//! The layer over the layer rm, in a chain as users write it.

use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti};

use crate::tpm::*;

fn chain(chain: &str) -> Box<dyn Tcti> {
    rusttcti::open(chain).expect("it opens")
}

#[test]
fn over_a_resource_manager_there_are_as_many_objects_and_sessions_as_wanted() {
    let mut bench = Bench::over(chain("rm:libtpms"), "key=null");
    let mut objects = Vec::new();
    for number in 0..8u8 {
        let auth = [b'a' + number; 12];
        objects.push((word(&bench.ok(&create_primary(OWNER, &[], &auth))), auth));
    }
    let sessions: Vec<u32> = (0..6)
        .map(|_| word(&bench.ok(&crate::attacks::start_session(1, 0x10))))
        .collect();
    for _ in 0..2 {
        for (object, auth) in &objects {
            bench.ok(&create_sealed(*object, auth, b"x", b"sealed by a program"));
        }
        for session in &sessions {
            bench.ok(&plain(CommandCode::POLICY_GET_DIGEST, &[*session], &[]));
        }
    }
    for (_, auth) in &objects {
        assert!(!bench.recording.has(auth));
    }
    assert!(!bench.recording.has(b"sealed by a program"));
}

#[test]
fn a_chain_without_a_key_says_what_to_choose() {
    let error = rusttcti::open("wrap:libtpms").err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert!(error.to_string().contains("choose key=FILE"), "{error}");
    run(&mut *chain("wrap,key=null:rm:libtpms"), &get_random(8)).expect("a response");
    run(
        &mut *chain("wrap,key=null:wrap,key=null:libtpms"),
        &get_random(8),
    )
    .expect("a response");
}
