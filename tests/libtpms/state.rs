// SPDX-License-Identifier: BSD-2-Clause
//! The embedded TPM's state file: the state that it keeps, and the files that are
//! refused.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rusttcti::transport::libtpms::{Libtpms, Startup};
use rusttcti::{Error, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::tpm::*;
use tempfile::TempDir;

fn open(path: &Path) -> Libtpms {
    try_open(path).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn try_open(path: &Path) -> Result<Libtpms, Error> {
    Libtpms::builder().path(path).open()
}

/// A folder with a state file whose TPM has an extended PCR and a counter at 1.
fn provisioned() -> (TempDir, std::path::PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut tpm = open(&path);
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    let pcr = pcr_read(&mut tpm, DEBUG_PCR);
    tpm.finalize().expect("suspended");
    (folder, path, pcr)
}

/// A state file's bytes in tpm2-tss's format: this library's without its trailer.
fn in_tpm2_tss_s_format(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).expect("a state");
    bytes.truncate(bytes.len() - 16);
    bytes
}

/// The names of the files in a folder.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}

/// Asserts that these bytes are refused with the file's name and these words, and
/// that the file does not change.
pub(super) fn assert_refused(path: &Path, bytes: &[u8], words: &str) {
    std::fs::write(path, bytes).expect("written");
    let error = try_open(path)
        .err()
        .unwrap_or_else(|| panic!("opened ({words})"));
    let report = error.report();
    assert!(report.contains(&path.display().to_string()), "{report}");
    assert!(report.contains(words), "{report}");
    assert!(
        std::fs::read(path).expect("still there") == bytes,
        "changed ({words})"
    );
    let folder = path.parent().expect("a folder");
    assert_eq!(names(folder), ["state"], "left something behind ({words})");
}

#[test]
fn the_first_command_just_works_and_a_second_startup_is_refused() {
    let mut tpm = rusttcti::open("libtpms").expect("a TPM");
    assert_eq!(ok(&mut tpm, &get_random(16)).len(), 28);
    let response = call(&mut tpm, &STARTUP).expect("a response");
    assert_eq!(response_code(&response), 0x100, "TPM_RC_INITIALIZE");
}

#[test]
fn a_tpm_that_is_not_to_be_started_waits_for_startup() {
    let mut tpm = Libtpms::builder()
        .startup(Startup::None)
        .open()
        .expect("a TPM");
    let response = call(&mut tpm, &get_random(16)).expect("a response");
    assert_eq!(response_code(&response), 0x100, "TPM_RC_INITIALIZE");
    ok(&mut tpm, &STARTUP);
    ok(&mut tpm, &get_random(16));
}

#[test]
fn a_clean_close_is_a_suspend_and_leaves_only_the_state() {
    let (folder, path, pcr) = provisioned();
    assert_eq!(names(&folder), ["state"]);
    let mode = path.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut tpm = open(&path);
    assert_eq!(pcr_read(&mut tpm, DEBUG_PCR), pcr);
    assert_eq!(nv_read_counter(&mut tpm), 1);
}

/// Otherwise one program that root ran would take the TPM away from its user.
#[test]
fn a_state_file_stays_its_users_when_root_uses_it() {
    let (_folder, path, _) = provisioned();
    std::os::unix::fs::chown(&path, Some(65534), Some(65533)).expect("root's to do");
    let mut tpm = open(&path);
    let user = || {
        path.metadata()
            .map(|file| (file.uid(), file.gid(), file.mode() & 0o7777))
    };
    assert_eq!(user().expect("a file"), (65534, 65533, 0o600), "resumed");
    // If it were killed now, the files that it leaves would not hinder the user.
    let lock = path.with_extension("lock").metadata().expect("a lock");
    assert_eq!((lock.uid(), lock.gid()), (65534, 65533));
    ok(&mut tpm, &nv_increment());
    assert_eq!(user().expect("a file"), (65534, 65533, 0o600), "written");
    drop(tpm);
    assert_eq!(user().expect("a file"), (65534, 65533, 0o600), "suspended");
}

#[test]
fn a_named_pipe_in_the_place_of_the_lock_is_not_waited_for() {
    let (folder, path, _) = provisioned();
    let lock = folder.path().join("state.lock");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &lock, mode).expect("a pipe");
    let (opened, is_open) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ok(&mut open(&path), &nv_increment());
        opened.send(()).expect("awaited");
    });
    is_open.recv_timeout(PATIENCE).expect("in time");
    assert_eq!(names(&folder), ["state"]);
}

#[test]
fn a_state_is_consumed_so_that_a_crash_is_a_power_loss() {
    let (folder, path, pcr) = provisioned();
    let mut tpm = open(&path);
    ok(&mut tpm, &nv_increment());
    let crashed = folder.path().join("crashed");
    std::fs::copy(&path, &crashed).expect("copied");
    let mut after = open(&crashed);
    assert_ne!(pcr_read(&mut after, DEBUG_PCR), pcr, "PCRs are volatile");
    assert_eq!(nv_read_counter(&mut after), 2, "what was answered is kept");
    // tpm2-tss's reader gives libtpms both parts, and looks no further.
    let theirs = folder.path().join("theirs");
    std::fs::write(&theirs, in_tpm2_tss_s_format(&path)).expect("written");
    let mut after = open(&theirs);
    assert_ne!(pcr_read(&mut after, DEBUG_PCR), pcr, "it is powered off");
    assert_eq!(nv_read_counter(&mut after), 2);
}

#[test]
fn a_file_is_written_when_permanent_state_changes_and_only_then() {
    let (_folder, path, _) = provisioned();
    let mut tpm = open(&path);
    let inode = || path.metadata().expect("a file").ino();
    let before = inode();
    ok(&mut tpm, &get_random(16));
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    assert_eq!(inode(), before, "nothing permanent changed");
    ok(&mut tpm, &nv_increment());
    assert_ne!(inode(), before, "a counter did");
}

#[test]
fn a_cut_file_is_refused_at_any_length_and_stays_as_it_is() {
    let (_folder, path, _) = provisioned();
    let bytes = std::fs::read(&path).expect("a state");
    let theirs = bytes.len() - 16;
    for length in (0..bytes.len()).filter(|length| *length != theirs) {
        assert_refused(&path, &bytes[..length], "cannot be used");
    }
}

#[test]
fn a_flipped_bit_is_refused_everywhere() {
    let (_folder, path, _) = provisioned();
    let bytes = std::fs::read(&path).expect("a state");
    for bit in (0..bytes.len() * 8).step_by(101) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_refused(&path, &flipped, "cannot be used");
    }
}

#[test]
fn a_flipped_bit_in_tpm2_tss_s_format_is_refused_or_opens_and_never_ends_the_process() {
    let (_folder, path, _) = provisioned();
    let theirs = in_tpm2_tss_s_format(&path);
    let permanent = 4 + u32::from_be_bytes(theirs[..4].try_into().expect("a length")) as usize;
    for bit in (0..theirs.len() * 8).step_by(211) {
        let mut flipped = theirs.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 >= permanent {
            // libtpms itself would abort for some of these.
            assert_refused(&path, &flipped, "cannot be used");
            continue;
        }
        // A permanent state has no checksum, so libtpms accepts many changes.
        std::fs::write(&path, &flipped).expect("written");
        if let Ok(mut tpm) = try_open(&path) {
            call(&mut tpm, &get_random(16)).expect("a response");
        }
    }
}

#[test]
fn what_is_no_state_is_refused_and_stays_as_it_is() {
    let (folder, path, _) = provisioned();
    assert_refused(&path, b"", "it is empty");
    assert_refused(&path, &[0; 4096], "cannot be used");
    assert_refused(
        &path,
        b"#!/bin/sh\necho a script, by mistake\n",
        "cannot be used: it is a text file",
    );
    let random: Vec<u8> = (0..3000_u32).map(|n| ((n * n * 167) >> 5) as u8).collect();
    assert_refused(
        &path,
        &random,
        "cannot be used: it is not a TPM's state: it begins with ",
    );
    let error = try_open(folder.path()).expect_err("a folder is no state file");
    assert!(error.report().contains("directory"), "{}", error.report());
    let error = try_open(&folder.path().join("none/state")).expect_err("no such folder");
    assert!(
        error.report().contains("does not exist"),
        "{}",
        error.report()
    );
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    let error = try_open(&fifo).expect_err("a FIFO is no state file");
    assert!(
        error.report().contains("regular file"),
        "{}",
        error.report()
    );
}

#[test]
fn a_state_of_another_libtpms_is_refused_with_both_versions() {
    let (_folder, path, _) = provisioned();
    let mut theirs = in_tpm2_tss_s_format(&path);
    // The version of the permanent state's format, and the least reader's.
    theirs[4..6].copy_from_slice(&[0, 99]);
    theirs[10..12].copy_from_slice(&[0, 98]);
    assert_refused(&path, &theirs, "format version is 99, for readers of 98");
    assert_refused(&path, &theirs, "libtpms 0.");
    assert_refused(&path, &theirs, "it says \"libtpms");
}

#[test]
fn a_state_in_tpm2_tss_s_format_is_resumed() {
    let (_folder, path, pcr) = provisioned();
    let theirs = in_tpm2_tss_s_format(&path);
    // As tpm2-tss leaves it after a crash: zeros up to a multiple of 2048.
    let mut padded = theirs.clone();
    padded.resize(theirs.len().next_multiple_of(2048), 0);
    for bytes in [theirs, padded] {
        std::fs::write(&path, bytes).expect("written");
        let mut tpm = open(&path);
        assert_eq!(pcr_read(&mut tpm, DEBUG_PCR), pcr);
        assert_eq!(nv_read_counter(&mut tpm), 1);
    }
}

#[test]
fn a_link_to_a_state_stays_a_link() {
    let (folder, path, pcr) = provisioned();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let link = elsewhere.path().join("link");
    symlink(&path, &link).expect("a link");
    let mut tpm = open(&link);
    assert_eq!(pcr_read(&mut tpm, DEBUG_PCR), pcr);
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
    assert!(link.is_symlink());
    assert_eq!(names(&folder), ["state"]);
    assert_eq!(names(&elsewhere), ["link"]);
    assert_eq!(nv_read_counter(&mut open(&path)), 2);

    let dangling = elsewhere.path().join("dangling");
    symlink(folder.path().join("new"), &dangling).expect("a link");
    drop(open(&dangling));
    assert!(dangling.is_symlink());
    assert_eq!(names(&folder), ["new", "state"]);
}

#[test]
fn contexts_on_one_file_share_one_tpm() {
    let (folder, path, pcr) = provisioned();
    let mut one = open(&path);
    let mut other = open(
        &folder
            .path()
            .join("../")
            .join(folder.path().file_name().expect("a name"))
            .join("state"),
    );
    ok(&mut one, &pcr_extend(DEBUG_PCR, 2));
    let extended = pcr_read(&mut other, DEBUG_PCR);
    assert_ne!(extended, pcr);
    one.finalize().expect("closed");
    ok(&mut other, &nv_increment());
    drop(other);
    let mut later = open(&path);
    assert_eq!(pcr_read(&mut later, DEBUG_PCR), extended);
    assert_eq!(nv_read_counter(&mut later), 2);
}

#[test]
fn a_snapshot_starts_another_tpm_where_this_one_was() {
    let (_folder, path, pcr) = provisioned();
    let mut tpm = open(&path);
    let snapshot = tpm.snapshot().expect("a snapshot");
    ok(&mut tpm, &nv_increment());
    let mut copy = Libtpms::builder().state(snapshot).open().expect("a TPM");
    assert_eq!(pcr_read(&mut copy, DEBUG_PCR), pcr);
    assert_eq!(nv_read_counter(&mut copy), 1);
}

#[test]
fn a_reset_keeps_what_is_permanent_and_drops_the_rest() {
    let (_folder, path, pcr) = provisioned();
    let mut tpm = open(&path);
    tpm.reset().expect("reset");
    assert_ne!(pcr_read(&mut tpm, DEBUG_PCR), pcr);
    assert_eq!(nv_read_counter(&mut tpm), 1);
    ok(&mut tpm, &nv_increment());
    assert_eq!(nv_read_counter(&mut tpm), 2);
}
