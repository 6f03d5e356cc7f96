// SPDX-License-Identifier: BSD-2-Clause
//! A state file that many processes open at the same time, and TPMs under valgrind.

use std::process::{Command, Stdio};

use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::module::program;
use rusttcti_kit::tpm::*;

#[test]
fn of_two_hundred_processes_each_gets_its_turn_or_is_told_who_has_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let chain = format!("rusttcti:libtpms:{}", path.display());
    let children: Vec<_> = (0..200)
        .map(|_| {
            program("timeout")
                .args(["-s", "KILL", "60"])
                .args(["tpm2_getrandom", "-T", &chain, "--hex", "16"])
                .env("RUSTTCTI_FSYNC", "0")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("started")
        })
        .collect();
    let mut answers = Vec::new();
    for child in children {
        let output = child.wait_with_output().expect("waited for");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            assert_eq!(text.len(), 32, "{text}");
            answers.push(text);
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                errors.contains(&path.display().to_string()) && errors.contains("process "),
                "{output:?}"
            );
        }
    }
    let count = answers.len();
    assert!(count > 0, "not one had its turn");
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), count, "the same random bytes twice");
    let mut tpm = Libtpms::builder().path(&path).open().expect("whole");
    ok(&mut tpm, &get_random(16));
}

/// Eight TPMs at once, each with a key, in memory, closed in another order.
#[test]
#[ignore = "a scene of another test"]
fn scene_eight_tpms() {
    let mut tpms: Vec<_> = (0..8)
        .map(|_| Libtpms::builder().open().expect("a TPM"))
        .collect();
    for tpm in &mut tpms {
        ok(tpm, &get_random(16));
        ok(tpm, &create_primary_ecc());
    }
    while !tpms.is_empty() {
        let mut tpm = tpms.swap_remove(tpms.len() / 2);
        tpm.finalize().expect("closed");
    }
}

#[test]
fn valgrind_finds_no_leak_and_no_invalid_access_in_eight_tpms() {
    let scene = again::only!("scene_eight_tpms");
    again::played(
        Command::new("timeout")
            .args(["-s", "KILL", "120", "valgrind", "--quiet"])
            .args(["--error-exitcode=9", "--leak-check=full"])
            .arg("--errors-for-leak-kinds=definite")
            .arg(scene.get_program())
            .args(scene.get_args()),
    );
}
