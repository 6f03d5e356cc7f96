// SPDX-License-Identifier: BSD-2-Clause
//! A process that forks while its other threads open and close embedded TPMs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::tpm::*;

const CHILDREN: usize = 200;
/// The time limit of a child, in seconds. It takes some milliseconds.
const LONGEST: u32 = 60;

/// Opens a TPM, uses it and closes it.
fn one_tpm(command: &[u8]) {
    let mut tpm = Libtpms::builder()
        .open()
        .unwrap_or_else(|error| panic!("{}", error.report()));
    ok(&mut tpm, command);
    tpm.finalize().expect("closed");
}

/// Runs in a child, and never returns.
fn child(number: usize) -> ! {
    // SAFETY: a child that hangs is ended by a signal.
    unsafe { libc::alarm(LONGEST) };
    let done = std::panic::catch_unwind(|| one_tpm(&get_random(16)));
    let status = i32::from(done.is_err());
    if number % 4 == 3 {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(status) }
    }
    // With all that is to be done at the end of a process: destructors of each
    // library, OpenSSL's clean-up.
    std::process::exit(status)
}

#[test]
#[ignore = "a scene of another test"]
fn scene_forks_among_threads_that_open_and_close() {
    let stop = AtomicBool::new(false);
    let mut failed = Vec::new();
    thread::scope(|scope| {
        for command in [get_random(16), create_primary_ecc()] {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    one_tpm(&command);
                }
            });
        }
        // A power cycle is nearly all libtpms's own start.
        let stop = &stop;
        scope.spawn(move || {
            let mut tpm = Libtpms::builder().open().expect("a TPM");
            while !stop.load(Ordering::Relaxed) {
                tpm.reset().expect("a power cycle");
            }
        });
        for number in 0..CHILDREN {
            // SAFETY: that a child may then go on as a process of its own is
            // what is tested.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                child(number);
            }
            let mut status = 0;
            // SAFETY: waits for the child that was just made.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            if status != 0 {
                failed.push((number, status));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // 0xe: it hung, and SIGALRM ended it.
    assert!(failed.is_empty(), "child and status: {failed:x?}");
}

#[test]
fn children_forked_while_tpms_are_opened_and_closed_open_their_own_and_exit() {
    again::played(&mut again::only!(
        "scene_forks_among_threads_that_open_and_close",
    ));
}
