// SPDX-License-Identifier: BSD-2-Clause
//! A C module in a chain may write to a pipe without a reader
//! (tests/c/pipe_module.c does so in every call). The program that uses the chain
//! goes on, and its signals do not change.

use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::ptr;
use std::time::Duration;

use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti, TctiLdr};
use rusttcti_kit::again;
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::stage::output;

/// The variable by which the scenes find the module.
const MODULE: &str = "RUSTTCTI_TEST_PIPE_MODULE";

fn module() -> String {
    std::env::var(MODULE).expect("a test has made it")
}

/// Sets SIGPIPE as in a C program; Rust's startup ignores it.
fn as_in_c() {
    // SAFETY: a disposition that every program may have.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Returns whether this thread blocks SIGPIPE, or has one pending.
fn has_sigpipe() -> bool {
    let (mut mask, mut pending) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: NULL changes nothing; each set is filled in before it is read.
    unsafe {
        let none = ptr::null();
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, none, mask.as_mut_ptr()),
            0
        );
        assert_eq!(libc::sigpending(pending.as_mut_ptr()), 0);
        [mask, pending]
            .iter()
            .any(|set| libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1)
    }
}

/// Makes every call that reaches the module.
fn use_and_close(mut tcti: impl Tcti) {
    let gone = |error: rusttcti::Error| {
        assert_eq!(error.kind(), ErrorKind::IoError, "{}", error.report());
        assert!(!has_sigpipe());
    };
    gone(tcti.transmit(&get_random(4)).expect_err("nobody reads"));
    tcti.transmit(&command(CommandCode::SELF_TEST, &[1; 8]))
        .expect("this one is taken");
    assert!(!has_sigpipe());
    let canceller = tcti.canceller().expect("it has one");
    gone(canceller.cancel().expect_err("nobody reads"));
    let received = tcti.receive(&mut [0; 64], Some(Duration::ZERO));
    gone(received.expect_err("nobody reads"));
    gone(tcti.poll_handles().expect_err("nobody reads"));
    gone(tcti.set_locality(1).expect_err("nobody reads"));
    gone(tcti.make_sticky(1, true).expect_err("nobody reads"));
    tcti.finalize().expect("closed");
    assert!(!has_sigpipe());
}

#[test]
#[ignore = "a scene of another test"]
fn scene_chain() {
    as_in_c();
    use_and_close(rusttcti::open(&module()).expect("a chain of one"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pcap");
    let chain = format!("pcap,file={}:{}", file.display(), module());
    use_and_close(rusttcti::open(&chain).expect("a chain of two"));
    // Dropped, not finalized.
    drop(rusttcti::open(&module()).expect("a chain"));
    assert!(!has_sigpipe());
}

/// A Rust program that loads the module itself, as it may: it has SIGPIPE
/// ignored, or sees to it.
#[test]
#[ignore = "a scene of another test"]
fn scene_no_chain() {
    as_in_c();
    let _ = TctiLdr::new(&module(), None);
}

fn run(scene: &str) -> (ExitStatus, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libpipe.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/pipe_module.c");
    output(
        Command::new("cc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-shared",
                "-fPIC",
            ])
            .arg("-o")
            .args([&library, &source]),
    );
    let output = again::only!(scene)
        .env(MODULE, &library)
        .output()
        .expect("it runs");
    (output.status, format!("{output:#?}"))
}

#[test]
fn a_c_module_s_broken_pipe_does_not_end_the_program_whose_chain_it_is_in() {
    let (status, told) = run("scene_chain");
    assert!(status.success(), "{told}");
    assert!(told.contains("test result: ok. 1 passed"), "{told}");
}

#[test]
fn the_same_module_ends_a_program_that_does_not_take_it_into_a_chain() {
    // Otherwise the test above would show nothing.
    let (status, told) = run("scene_no_chain");
    assert_eq!(status.signal(), Some(libc::SIGPIPE), "{told}");
}
