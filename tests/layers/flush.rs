// SPDX-License-Identifier: BSD-2-Clause
//! The layer flush: it flushes what programs leave loaded in a TPM without a resource
//! manager.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusttcti::layer::flush::Flush;
use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::proc::printed;
use rusttcti_kit::scripted::{Scripted, put};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{create_primary_ecc, ok};

/// Runs one of tpm2-tools in a folder, on a TPM.
fn tool(folder: &Path, tcti: &str, arguments: &[&str]) -> Output {
    rusttcti_kit::module::program(arguments[0])
        .args(&arguments[1..])
        .args(["-T", tcti])
        .current_dir(folder)
        .output()
        .expect("tpm2-tools run")
}

/// Leaves a key in the TPM, unless the TCTI sees to it.
fn create(folder: &Path, tcti: &str) -> Output {
    let arguments = ["tpm2_createprimary", "-Q", "-G", "ecc", "-c", "key.ctx"];
    tool(folder, tcti, &arguments)
}

/// The handles of transient objects.
fn transient(tcti: &mut dyn Tcti) -> usize {
    let words = [1_u32, 0x8000_0000, 254].map(u32::to_be_bytes).concat();
    let response = ok(tcti, &command(CommandCode::GET_CAPABILITY, &words));
    (response.len() - 19) / 4
}

fn open(chain: &str) -> Box<dyn Tcti> {
    rusttcti::open(chain).expect(chain)
}

#[test]
fn programs_in_turn_never_run_out_of_room() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..5 {
        printed(create(folder.path(), "rusttcti:flush:libtpms:state"));
    }
    // Without the layer the fourth has none.
    for _ in 0..3 {
        printed(create(folder.path(), "rusttcti:libtpms:state"));
    }
    let full = create(folder.path(), "rusttcti:libtpms:state");
    let told = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(told.contains("out of memory for object contexts"), "{told}");
    // The layer flushes what they left when it is opened.
    printed(create(folder.path(), "rusttcti:flush:libtpms:state"));
}

#[test]
fn saved_keys_and_sessions_stay_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let tpm = "rusttcti:flush:libtpms:state";
    printed(create(folder.path(), tpm));
    let session = ["tpm2_startauthsession", "--policy-session", "-S", "session"];
    printed(tool(folder.path(), tpm, &session));
    for _ in 0..4 {
        printed(tool(
            folder.path(),
            tpm,
            &["tpm2_policypcr", "-Q", "-S", "session", "-l", "sha256:16"],
        ));
        printed(tool(
            folder.path(),
            tpm,
            &["tpm2_readpublic", "-Q", "-c", "key.ctx"],
        ));
    }
}

#[test]
fn contexts_of_one_process_leave_each_other_s_objects_until_the_last_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = format!("libtpms:{}/state", folder.path().display());
    let mut first = open(&format!("flush:{bare}"));
    ok(&mut *first, &create_primary_ecc());
    let mut second = open(&format!("flush:{bare}"));
    assert_eq!(transient(&mut *second), 1, "it came second");
    second.finalize().expect("closed");
    assert_eq!(transient(&mut *first), 1, "it was not the last");
    first.finalize().expect("closed");
    assert_eq!(transient(&mut *open(&bare)), 0);
    // And it is the first once more.
    ok(&mut *open(&bare), &create_primary_ecc());
    assert_eq!(transient(&mut *open(&format!("flush:{bare}"))), 0);
}

#[test]
fn a_forked_child_that_closes_its_parent_s_context_flushes_nothing() {
    let swtpm = Swtpm::tcp();
    let mut tpm = open(&format!("flush:swtpm:{}", swtpm.conf()));
    ok(&mut *tpm, &create_primary_ecc());
    // SAFETY: the child calls the transport, which closes a socket at most, and
    // ends without a destructor.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let closed = tpm.finalize().is_ok();
        // SAFETY: it does not return.
        unsafe { libc::_exit(i32::from(!closed)) };
    }
    let mut status = 0;
    // SAFETY: our child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "{status}");
    assert_eq!(transient(&mut *tpm), 1);
}

#[test]
fn a_close_while_a_response_is_awaited_flushes_nothing_and_does_not_hang() {
    let folder = tempfile::tempdir().expect("a folder");
    let bare = format!("libtpms:{}/state", folder.path().display());
    let mut tpm = open(&format!("flush:{bare}"));
    ok(&mut *tpm, &create_primary_ecc());
    tpm.transmit(&create_primary_ecc()).expect("sent");
    tpm.finalize().expect("closed");
    assert!(transient(&mut *open(&bare)) >= 1);
}

#[test]
fn it_has_no_options_and_says_so() {
    let error = rusttcti::open("flush,file=x:null").err().expect("refused");
    let told = "the layer flush has no option \"file\" (its options: none)";
    assert_eq!(error.to_string(), told);
}

#[test]
fn nothing_is_flushed_on_top_of_a_response_that_is_still_awaited() {
    for kind in ErrorKind::ALL {
        let failing = Arc::new(AtomicBool::new(false));
        let fails = failing.clone();
        // The layer finds nothing loaded until `failing` is set.
        let scripted = Scripted {
            receive: Box::new(move |response, _| {
                if fails.load(Ordering::Relaxed) {
                    return Err((*kind).into());
                }
                let none = [0x80, 1, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
                put(response, &none)
            }),
            ..Scripted::default()
        };
        let log = scripted.log.clone();
        let mut flush = Flush::new(scripted).expect("a layer");
        flush.transmit(&get_random(8)).expect("sent");
        failing.store(true, Ordering::Relaxed);
        let error = flush.receive(&mut [0; 64], None).expect_err("none");
        assert_eq!(error.kind(), *kind);
        let before = log.count("transmit");
        flush.finalize().expect("the end");
        let flushed = log.count("transmit") > before;
        assert_eq!(flushed, !kind.leaves_command_pending(), "after {kind}");
    }
}
