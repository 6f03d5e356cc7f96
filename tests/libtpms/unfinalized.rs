// SPDX-License-Identifier: BSD-2-Clause
//! A program that ends, or unloads the module, without finalizing its context
//! (tests/c/unfinalized.c) loses nothing of the TPM in its state file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rusttcti::transport::libtpms::Libtpms;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::stage::{Stage, output};
use rusttcti_kit::tpm::*;

/// Runs the program with a chain.
fn run(stage: &Stage, way: &str, chain: &str) {
    let program = stage.path().join("unfinalized");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/unfinalized.c");
    output(
        Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-o"])
            .args([&program, &source])
            .args(stage.pkg_config("--cflags"))
            .arg("-ldl"),
    );
    // timeout's code is 124 where it had to end the program.
    output(
        rusttcti_kit::module::program("timeout")
            .args(["-k", "5", "30"])
            .arg(&program)
            .args([way, chain]),
    );
}

/// Runs the program on a new state file, and looks for what it did.
fn nothing_is_lost(way: &str) {
    let stage = Stage::new();
    let state = stage.path().join("state");
    run(&stage, way, &format!("libtpms:{}", state.display()));
    assert!(
        !stage.path().join("state.lock").exists(),
        "it kept the lock"
    );

    let mut tpm = Libtpms::builder().path(&state).open().expect("a TPM");
    let mut other = Libtpms::builder().open().expect("a TPM");
    for _ in 0..2 {
        ok(&mut other, &pcr_extend(DEBUG_PCR, 1));
    }
    let wanted = pcr_read(&mut other, DEBUG_PCR);
    assert_eq!(pcr_read(&mut tpm, DEBUG_PCR), wanted);
}

#[test]
fn a_program_that_just_exits_is_no_power_loss() {
    nothing_is_lost("exit");
}

#[test]
fn a_program_that_unloads_the_module_may_load_it_and_open_the_file_again() {
    nothing_is_lost("unload");
}

#[test]
fn the_same_where_the_tpm_has_a_thread() {
    nothing_is_lost("worker-unload");
}

#[test]
fn an_exit_with_a_tpm_in_memory_does_not_wait_for_its_idle_thread() {
    let stage = Stage::new();
    for way in ["worker", "busy", "handler"] {
        run(&stage, way, "libtpms");
    }
}

#[test]
fn an_exit_in_the_middle_of_a_long_command_ends_it() {
    nothing_is_lost("busy");
}

#[test]
fn what_a_program_registered_with_atexit_still_reaches_the_tpm() {
    nothing_is_lost("handler");
}

#[test]
fn an_exit_after_openssl_s_own_cleanup_stores_the_state() {
    nothing_is_lost("openssl");
}

#[test]
fn children_that_exit_leave_the_parent_s_tpm_alone() {
    nothing_is_lost("children");
}

/// The variable by which a scene finds its state file.
const STATE: &str = "RUSTTCTI_TEST_STATE";

/// Exits while other threads open, use and close TPMs.
#[test]
#[ignore = "a scene of another test"]
fn scene_exit_among_threads() {
    let state = PathBuf::from(std::env::var_os(STATE).expect("a state file"));
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    for number in 0..4 {
        let state = state.clone();
        std::thread::spawn(move || {
            loop {
                let builder = match number % 2 {
                    0 => Libtpms::builder(),
                    _ => Libtpms::builder().path(&state),
                };
                // Calls after the exit began may fail, but not crash.
                let Ok(mut tpm) = builder.open() else {
                    continue;
                };
                let _ = call(&mut tpm, &get_random(16));
                if number == 2 {
                    let _ = call(&mut tpm, &create_primary_ecc());
                }
                ROUNDS.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    rusttcti_kit::proc::until("some rounds", || ROUNDS.load(Ordering::Relaxed) > 20);
    std::process::exit(42);
}

#[test]
fn an_exit_while_other_threads_open_and_close_tpms_is_no_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..20 {
        let status = again::only!("scene_exit_among_threads")
            .env(STATE, folder.path().join("state"))
            .env("RUSTTCTI_FSYNC", "0")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("started");
        assert_eq!(status.code(), Some(42), "{status}");
    }
}

/// Exits while threads that used a TPM end.
#[test]
#[ignore = "a scene of another test"]
fn scene_exit_with_threads() {
    static READY: AtomicU32 = AtomicU32::new(0);
    static GO: AtomicBool = AtomicBool::new(false);
    for _ in 0..2 {
        std::thread::spawn(|| {
            let mut tpm = Libtpms::builder().open().expect("a TPM");
            ok(&mut tpm, &get_random(16));
            drop(tpm);
            READY.fetch_add(1, Ordering::SeqCst);
            while !GO.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
        });
    }
    rusttcti_kit::proc::until("both threads", || READY.load(Ordering::SeqCst) == 2);
    GO.store(true, Ordering::SeqCst);
    std::process::exit(42);
}

#[test]
fn an_exit_while_threads_that_used_a_tpm_end_is_no_crash() {
    for _ in 0..150 {
        let status = again::only!("scene_exit_with_threads")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("started");
        assert_eq!(status.code(), Some(42), "{status}");
    }
}
