// SPDX-License-Identifier: BSD-2-Clause
//! TPMs that start from a template: libtpms-copy, and fresh random numbers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusttcti::transport::libtpms::{Libtpms, Startup};
use rusttcti::transport::libtpms_copy::LibtpmsCopy;
use rusttcti::wire::{CommandCode, startup_type};
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::module::program;
use rusttcti_kit::proc::printed;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{
    DEBUG_PCR, STARTUP, call, nv_define_counter, nv_increment, nv_read_counter, ok, pcr_extend,
    pcr_read,
};
use tempfile::TempDir;

/// A suspended TPM with an extended PCR and a counter at 1.
fn template() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("template");
    let mut tpm = Libtpms::builder().path(&file).open().expect("a TPM");
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
    (folder, file)
}

fn copy(file: &Path) -> LibtpmsCopy {
    LibtpmsCopy::open(file).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn random(tpm: &mut dyn Tcti) -> Vec<u8> {
    ok(tpm, &get_random(32))[12..].to_vec()
}

fn names(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("a folder").count()
}

#[test]
fn copies_start_where_the_template_was_left_and_never_write_it() {
    let (folder, file) = template();
    let before = (std::fs::read(&file).expect("bytes"), names(&folder));
    let modified = || {
        std::fs::metadata(&file)
            .and_then(|file| file.modified())
            .expect("a time")
    };
    let (time, chain) = (modified(), format!("libtpms-copy:{}", file.display()));
    let mut copies: Vec<_> = (0..4)
        .map(|_| rusttcti::open(&chain).expect("a copy"))
        .collect();
    for (more, copy) in copies.iter_mut().enumerate() {
        assert_ne!(pcr_read(&mut **copy, DEBUG_PCR), [0; 32]);
        for _ in 0..more {
            ok(&mut **copy, &nv_increment());
        }
        assert_eq!(
            nv_read_counter(&mut **copy),
            1 + more as u64,
            "one of its own"
        );
    }
    drop(copies);
    assert_eq!(
        (std::fs::read(&file).expect("bytes"), names(&folder)),
        before
    );
    assert_eq!(modified(), time);
}

#[test]
fn a_template_may_be_write_protected_or_in_use() {
    let (folder, file) = template();
    let mut user = Libtpms::builder().path(&file).open().expect("its TPM");
    assert_eq!(nv_read_counter(&mut copy(&file)), 1);
    ok(&mut user, &nv_increment());
    assert_eq!(nv_read_counter(&mut copy(&file)), 2, "what is on disk");
    user.finalize().expect("closed");
    let mode = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("a mode");
    };
    mode(&file, 0o400);
    mode(folder.path(), 0o500);
    assert_eq!(nv_read_counter(&mut copy(&file)), 2);
    mode(folder.path(), 0o700);
}

#[test]
fn no_two_tpms_that_go_on_from_one_state_draw_the_same_random_numbers() {
    let (folder, file) = template();
    let state = std::fs::read(&file).expect("a state");
    let second = folder.path().join("second");
    std::fs::copy(&file, &second).expect("a copy of the file");
    let of_file = |path: &Path| Libtpms::builder().path(path).open().expect("a TPM");
    let of_state = || Libtpms::builder().state(&*state).open().expect("a TPM");
    let mut snapshot = of_state();
    let then = snapshot.snapshot().expect("a snapshot");
    let mut drawn = vec![
        random(&mut copy(&file)),
        random(&mut copy(&file)),
        random(&mut of_state()),
        random(&mut of_state()),
        random(&mut of_file(&file)),
        random(&mut of_file(&second)),
        random(&mut snapshot),
    ];
    snapshot.restore(&then).expect("put back");
    drawn.push(random(&mut snapshot));
    let count = drawn.len();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), count, "{drawn:02x?}");
}

#[test]
fn a_copy_that_is_not_started_draws_fresh_numbers_after_its_startup() {
    let (_folder, file) = template();
    // A crash: the file is that of a TPM that was powered off.
    let tpm = Libtpms::builder().path(&file).open().expect("a TPM");
    let state = std::fs::read(&file).expect("a state");
    drop(tpm);
    let drawn = || {
        let tpm = Libtpms::builder().state(&*state).startup(Startup::None);
        let mut tpm = tpm.open().expect("a TPM");
        ok(&mut tpm, &STARTUP);
        random(&mut tpm)
    };
    assert_ne!(drawn(), drawn());
}

#[test]
fn a_deterministic_tpm_draws_the_numbers_of_its_state() {
    let (_folder, file) = template();
    let state = std::fs::read(&file).expect("a state");
    let open = || {
        let tpm = Libtpms::builder().state(&*state).deterministic(true);
        tpm.open().expect("a TPM")
    };
    let (mut one, mut other) = (open(), open());
    let first = random(&mut one);
    assert_eq!(random(&mut other), first);
    assert_ne!(random(&mut one), first, "and goes on with others");
    one.restore(&state).expect("put back");
    assert_eq!(random(&mut one), first);
}

#[test]
fn a_variable_makes_the_copies_of_any_program_deterministic() {
    let (_folder, file) = template();
    let drawn = |value: &str| {
        let output = program("tpm2_getrandom")
            .env("RUSTTCTI_DETERMINISTIC", value)
            .args(["--hex", "16", "-T"])
            .arg(format!("rusttcti:libtpms-copy:{}", file.display()))
            .output();
        printed(output.expect("tpm2-tools run"))
    };
    assert_eq!(drawn("1"), drawn("1"));
    for value in ["0", ""] {
        assert_ne!(drawn(value), drawn(value), "\"{value}\"");
    }
}

#[test]
fn a_copy_of_swtpm_s_own_state_file_has_its_permanent_state() {
    let swtpm = Swtpm::unix();
    let chain = format!("swtpm:{}", swtpm.conf());
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    for command in [nv_define_counter(), nv_increment(), nv_increment()] {
        ok(&mut *tpm, &command);
    }
    ok(&mut *tpm, &pcr_extend(DEBUG_PCR, 1));
    // A counter is on disk after an orderly shutdown at the latest.
    ok(
        &mut *tpm,
        &command(CommandCode::SHUTDOWN, &startup_type::CLEAR.to_be_bytes()),
    );
    let mut copied = copy(&swtpm.state_file());
    assert_eq!(nv_read_counter(&mut copied), 2);
    assert_eq!(
        pcr_read(&mut copied, DEBUG_PCR),
        [0; 32],
        "it was powered off"
    );
    ok(&mut copied, &nv_increment());
    let before = std::fs::read(swtpm.state_file()).expect("its file");
    drop(copied);
    assert_eq!(std::fs::read(swtpm.state_file()).expect("its file"), before);

    // Like a state file of ours it is left alone, and the error names the remedy.
    let error = Libtpms::builder().path(swtpm.state_file()).open();
    let error = error.expect_err("refused").report();
    assert!(error.contains("it is swtpm's (libtpms-copy"), "{error}");
    assert_eq!(std::fs::read(swtpm.state_file()).expect("its file"), before);
}

#[test]
fn what_no_copy_can_start_from_is_named_with_a_remedy() {
    let swtpm = Swtpm::encrypted();
    let chain = format!("swtpm:{}", swtpm.conf());
    ok(&mut *rusttcti::open(&chain).expect("a TPM"), &get_random(8));
    let error = LibtpmsCopy::open(swtpm.state_file()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    let told = error.report();
    assert!(told.contains("swtpm's state file, and encrypted"), "{told}");
    assert!(told.contains("without a key"), "{told}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("none");
    let told = LibtpmsCopy::open(&file).expect_err("refused").report();
    assert!(told.contains("there is no state file"), "{told}");
    assert_eq!(names(&folder), 0, "and none is made");
    std::fs::write(&file, "no state").expect("a file");
    let told = LibtpmsCopy::open(&file).expect_err("refused").report();
    assert!(told.contains(&file.display().to_string()), "{told}");
    let told = rusttcti::open("libtpms-copy")
        .err()
        .expect("refused")
        .to_string();
    assert!(
        told.contains("needs the state file to start from"),
        "{told}"
    );
}

#[test]
fn a_copy_can_all_that_an_embedded_tpm_can() {
    let (_folder, file) = template();
    let mut tpm = copy(&file);
    tpm.set_locality(3).expect("a locality");
    assert_eq!(tpm.poll_handles().expect("handles").len(), 1);
    assert!(tpm.canceller().is_some());
    tpm.reset().expect("a power cycle");
    assert_eq!(pcr_read(&mut tpm, DEBUG_PCR), [0; 32]);
    assert_eq!(nv_read_counter(&mut tpm), 1);
    tpm.finalize().expect("the end");
    assert!(call(&mut tpm, &get_random(8)).is_err());
}
