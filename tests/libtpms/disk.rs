// SPDX-License-Identifier: BSD-2-Clause
//! State files on a disk that is full or read-only, from the start or later.
//!
//! The disk is a small file system that the test mounts: each test runs its scene (an
//! ignored test) in a process that may mount.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::counter::{kill_rounds, open, provision};
use rusttcti_kit::strace;
use rusttcti_kit::tpm::*;

fn run(scene: &str) {
    // It mounts a small tmpfs, as root or in a user namespace.
    again::played(&mut again::with_own_mounts!(scene));
}

/// A file system of 128 KB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        mount("size=128k", &["-t", "tmpfs", "tmpfs"], &folder);
        Self(folder)
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn fill(&self) {
        let mut file = File::create(self.0.path().join("filler")).expect("a file");
        while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn free(&self) {
        let _ = std::fs::remove_file(self.0.path().join("filler"));
    }

    /// Makes the file system read-only. Returns false while something is being
    /// written, which prevents that.
    fn try_read_only(&self) -> bool {
        let mut remount = Command::new("mount");
        // "bind", because a user namespace may change no more than its mount.
        remount.args(["-o", "remount,bind,ro"]).arg(self.0.path());
        remount.output().expect("mount runs").status.success()
    }

    fn writable(&self) {
        mount("remount,bind,rw", &[], &self.0);
    }
}

fn mount(options: &str, arguments: &[&str], folder: &tempfile::TempDir) {
    let mut mount = Command::new("mount");
    mount
        .args(["-o", options])
        .args(arguments)
        .arg(folder.path());
    let output = mount.output().expect("mount runs");
    assert!(output.status.success(), "{output:?}");
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "not unmounted"
        );
    }
}

/// Commands of an open TPM fail between `spoil` and `mend`, with these words,
/// and the file stays as it is.
fn fails_in_between(
    disk: &SmallDisk,
    spoil: impl Fn(&SmallDisk),
    words: &str,
    mend: impl Fn(&SmallDisk),
) {
    let path = disk.state();
    provision(&path);
    let mut tpm = open(&path);
    ok(&mut tpm, &nv_increment());
    spoil(disk);
    let before = std::fs::read(&path).expect("a state");
    // Commands that change nothing permanent go on.
    ok(&mut tpm, &get_random(8));
    for _ in 0..3 {
        let error = call(&mut tpm, &nv_increment()).expect_err("it cannot be kept");
        assert_eq!(error.kind(), ErrorKind::IoError);
        let report = error.report();
        assert!(report.contains(&path.display().to_string()), "{report}");
        assert!(report.contains(words), "{report}");
    }
    assert!(
        std::fs::read(&path).expect("a state") == before,
        "the old state is whole"
    );
    mend(disk);
    // The first increment was done, and could not be stored; the others were not.
    assert_eq!(nv_read_counter(&mut tpm), 3);
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
    assert_eq!(nv_read_counter(&mut open(&path)), 4);
    let left: Vec<_> = std::fs::read_dir(disk.0.path())
        .expect("a folder")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");

    // A close that cannot store is a power loss, and says so.
    let mut tpm = open(&path);
    spoil(disk);
    let error = tpm.finalize().expect_err("it cannot be kept");
    assert_eq!(error.kind(), ErrorKind::IoError);
    assert!(error.report().contains(words), "{}", error.report());
    mend(disk);
    assert_eq!(nv_read_counter(&mut open(&path)), 4);
}

#[test]
#[ignore = "a scene of another test"]
fn scene_full() {
    let disk = SmallDisk::new();
    fails_in_between(
        &disk,
        SmallDisk::fill,
        "No space left on device",
        SmallDisk::free,
    );
}

#[test]
fn a_full_disk_fails_commands_until_there_is_room_and_keeps_the_old_state() {
    run("scene_full");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_read_only() {
    let disk = SmallDisk::new();
    let read_only = |disk: &SmallDisk| {
        assert!(disk.try_read_only(), "an open TPM is no obstacle");
    };
    fails_in_between(
        &disk,
        read_only,
        "Read-only file system",
        SmallDisk::writable,
    );

    // From the first moment.
    read_only(&disk);
    let error = Libtpms::builder()
        .path(disk.state())
        .open()
        .expect_err("it cannot be locked");
    let report = error.report();
    let (path, folder) = (disk.state(), disk.0.path().to_owned());
    let expected = format!(
        "cannot lock the state file \"{0}\": the folder \"{1}\" is on a file system that is mounted \
         read-only, and the lock \"{0}.lock\" and each new state are written there \
         (libtpms-copy:{0} starts a TPM in memory from the file, and writes nothing)",
        path.display(),
        folder.display()
    );
    assert_eq!(report, expected);
    drop(rusttcti::open(&format!("libtpms-copy:{}", path.display())).expect("a copy"));
    disk.writable();
    drop(open(&disk.state()));
}

#[test]
fn a_disk_that_becomes_read_only_fails_commands_until_it_is_writable_and_keeps_the_old_state() {
    run("scene_read_only");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_new_and_full() {
    let disk = SmallDisk::new();
    disk.fill();
    let path = disk.state();
    let error = Libtpms::builder().path(&path).open().expect_err("no room");
    assert!(
        error.report().contains("No space left"),
        "{}",
        error.report()
    );
    assert!(!path.exists());
    disk.free();
    provision(&path);
}

#[test]
fn a_new_tpm_on_a_full_disk_leaves_nothing_behind() {
    run("scene_new_and_full");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_kills_and_a_full_disk() {
    let disk = SmallDisk::new();
    let path = disk.state();
    provision(&path);
    let during = |random: &mut rusttcti_kit::random::Random| {
        disk.fill();
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        // Otherwise it is full when the kill comes.
        if random.below(3) > 0 {
            disk.free();
        }
    };
    kill_rounds(&path, 300, during, || disk.free());
}

#[test]
fn nothing_is_lost_by_a_kill_while_the_disk_fills_and_empties() {
    run("scene_kills_and_a_full_disk");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_kills_and_a_read_only_disk() {
    let disk = SmallDisk::new();
    let path = disk.state();
    provision(&path);
    let mut times = 0;
    let during = |random: &mut rusttcti_kit::random::Random| {
        times += usize::from(disk.try_read_only());
        if random.below(2) > 0 {
            disk.writable();
        }
    };
    kill_rounds(&path, 40, during, || disk.writable());
    assert!(times > 0, "it was never made read-only");
}

#[test]
fn nothing_is_lost_by_a_kill_while_the_disk_becomes_read_only_and_writable() {
    run("scene_kills_and_a_read_only_disk");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut tpm = open(&path);
    strace::mark();
    ok(&mut tpm, &get_random(8));
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    ok(&mut tpm, &nv_increment());
    strace::mark();
}

#[test]
fn a_change_is_on_disk_when_it_is_answered_unless_told_otherwise() {
    // The increment's alone: what changes nothing for good writes nothing. The
    // file comes before its name, and its name before the answer.
    let written = ["openat", "write", "fsync", "close", "renameat", "fsync"];
    assert_eq!(strace::calls(&again::only!("scene_commands"), &[]), written);
    let quick = [("RUSTTCTI_FSYNC", "0")];
    let unsynced = ["openat", "write", "close", "renameat"];
    assert_eq!(
        strace::calls(&again::only!("scene_commands"), &quick),
        unsynced
    );
}
