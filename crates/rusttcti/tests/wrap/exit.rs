// SPDX-License-Identifier: BSD-2-Clause
//! Programs that end without finalizing their contexts leave no session of the
//! layer's in the TPM.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rusttcti::Tcti;
use rusttcti::wire::CommandCode;
use rusttcti_kit::again;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::ok;

use crate::lists::{LOADED_SESSIONS, SAVED_SESSIONS, handles, open, start_hmac_session};
use crate::tpm::{Bench, get_random, plain, response_code, run};

/// The chains of the scene, with spaces between them.
const CHAINS: &str = "RUSTTCTI_TEST_CHAINS";
/// What the scene does before it exits.
const HABIT: &str = "RUSTTCTI_TEST_HABIT";

/// Uses each TPM, and exits.
#[test]
#[ignore = "a scene of another test"]
fn scene_exit() {
    let chains = std::env::var(CHAINS).expect("chains");
    let habit = std::env::var(HABIT).unwrap_or_default();
    let mut tpms: Vec<_> = chains.split(' ').map(open).collect();
    for tpm in &mut tpms {
        ok(&mut **tpm, &get_random(8));
    }
    let tpm = &mut *tpms[0];
    match habit.as_str() {
        "transmit" => tpm.transmit(&get_random(8)).expect("sent"),
        "locality" => tpm.set_locality(0).expect("set"),
        "fork" => {
            exit_in_a_child();
            // The second one is the TPM without the layer.
            let left = handles(&mut *tpms[1], LOADED_SESSIONS);
            assert_eq!(left.len(), 1, "the parent's is still there");
            ok(&mut *tpms[0], &get_random(8));
        }
        _ => {}
    }
    std::mem::forget(tpms);
    std::process::exit(42);
}

fn exit_in_a_child() {
    // SAFETY: the child only exits.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork"),
        0 => std::process::exit(0),
        child => {
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "it exited");
        }
    }
}

fn exits(chains: &str, habit: &str) -> ExitStatus {
    let mut scene = again::only!("scene_exit");
    scene.env(CHAINS, chains).env(HABIT, habit);
    scene.stdout(std::process::Stdio::null());
    scene.status().expect("started")
}

/// Looks at a TPM that no program uses.
fn has_no_session(bare: &str) {
    let mut tpm = open(bare);
    for first in [LOADED_SESSIONS, SAVED_SESSIONS] {
        assert_eq!(handles(&mut *tpm, first), [], "{first:x}");
    }
}

#[test]
fn a_swtpm_has_no_session_of_programs_that_just_exited() {
    let swtpm = Swtpm::tcp();
    let bare = format!("swtpm:{}", swtpm.conf());
    let chain = format!("wrap,key=null:{bare}");
    for habit in ["", "", "", "locality", ""] {
        assert_eq!(exits(&chain, habit).code(), Some(42), "{habit}");
        has_no_session(&bare);
    }
    ok(&mut *open(&chain), &get_random(8));
    has_no_session(&bare);
}

#[test]
fn an_embedded_tpm_has_no_session_of_programs_that_just_exited() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = format!("libtpms:{}", folder.path().join("state").display());
    for _ in 0..5 {
        let status = exits(&format!("wrap,key=null:{bare}"), "");
        assert_eq!(status.code(), Some(42), "{status}");
    }
    has_no_session(&bare);
}

#[test]
fn a_program_with_tpms_of_several_kinds_exits() {
    let folder = tempfile::tempdir().expect("a folder");
    let swtpm = Swtpm::tcp();
    let remote = format!("swtpm:{}", swtpm.conf());
    let embedded = format!("libtpms:{}", folder.path().join("state").display());
    for (first, second) in [(&remote, &embedded), (&embedded, &remote)] {
        let chains = format!("wrap,key=null:{first} wrap,key=null:{second}");
        let status = exits(&chains, "");
        assert_eq!(status.code(), Some(42), "{status}");
        has_no_session(first);
        has_no_session(second);
    }
}

#[test]
fn an_exit_with_a_command_under_way_sends_no_other() {
    let swtpm = Swtpm::tcp();
    let bare = format!("swtpm:{}", swtpm.conf());
    let chain = format!("wrap,key=null:{bare}");
    let begun = Instant::now();
    assert_eq!(exits(&chain, "transmit").code(), Some(42));
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(handles(&mut *open(&bare), LOADED_SESSIONS).len(), 1);
    // What it left does no harm.
    ok(&mut *open(&chain), &get_random(8));
}

#[test]
fn a_forked_child_that_exits_leaves_its_parent_s_session() {
    let swtpm = Swtpm::tcp();
    let bare = format!("swtpm:{}", swtpm.conf());
    let chains = format!("wrap,key=null:{bare} {bare}");
    assert_eq!(exits(&chains, "fork").code(), Some(42));
    has_no_session(&bare);
}

#[test]
fn sessions_that_killed_programs_left_are_moved_aside_and_stay() {
    let swtpm = Swtpm::tcp();
    let bare = format!("swtpm:{}", swtpm.conf());
    let mut other = open(&bare);
    let left: Vec<_> = (0..3).map(|_| start_hmac_session(&mut *other)).collect();
    drop(other);
    let mut tpm = open(&format!("wrap,key=null:{bare}"));
    for _ in 0..2 {
        ok(&mut *tpm, &get_random(8));
    }
    drop(tpm);
    assert_eq!(handles(&mut *open(&bare), LOADED_SESSIONS), left);
}

/// Lets saved sessions have all places of a TPM, and uses it through the layer.
#[test]
#[ignore = "a scene of another test"]
fn scene_full() {
    const SESSION_HANDLES: u32 = 0x905;
    let mut bench = Bench::new("key=null");
    let bus = bench.tpm.below().expect("the bus");
    for _ in 0..64 {
        let session = start_hmac_session(bus);
        let saved = run(bus, &plain(CommandCode::CONTEXT_SAVE, &[session], &[]));
        assert_eq!(response_code(&saved.expect("a response")), 0);
    }
    for _ in 0..2 {
        assert_eq!(bench.rc(&get_random(8)), SESSION_HANDLES);
    }
}

#[test]
fn a_tpm_that_is_full_of_others_sessions_is_told_once_with_the_remedy() {
    let played = again::played(&mut again::only!("scene_full"));
    let log = String::from_utf8_lossy(&played.stderr).into_owned();
    assert_eq!(log.matches("wrap,...:rm:").count(), 1, "{log}");
    assert!(log.contains("tpm2_flushcontext"), "{log}");
}
