// SPDX-License-Identifier: BSD-2-Clause
//! A state file that is in use: the process that has it, the duration of the wait, and
//! the log meanwhile. Also a folder in which no lock file can be made.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, open};
use rusttcti_kit::counter::RoleProcess;
use rusttcti_kit::{again, module, rights};

const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";
const WAIT: &str = "RUSTTCTI_LOCK_WAIT";

/// Says why the chain does not open.
#[test]
#[ignore = "a scene of other tests"]
fn scene_refused() {
    let chain = std::env::var(CHAIN).expect("a chain");
    let began = Instant::now();
    let error = open(&chain).err().expect("no TPM");
    println!("REPORT {:?}: {}", began.elapsed(), error.report());
}

/// Opens the file here, and then through the module.
#[test]
#[ignore = "a scene of other tests"]
fn scene_two_copies() {
    let chain = std::env::var(CHAIN).expect("a chain");
    let _ours = open(&chain).expect("a TPM");
    assert!(open(&format!("{}:{chain}", module::file().display())).is_err());
}

/// The report of a part of this program, how long it took, and its log.
fn refused(part: &mut Command, path: &Path) -> (String, Duration, String) {
    part.env(CHAIN, format!("libtpms:{}", path.display()));
    let began = Instant::now();
    let output = again::played(part);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (told, began.elapsed(), log)
}

/// The file, and a process that has it open.
fn held() -> (tempfile::TempDir, std::path::PathBuf, RoleProcess) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut other = RoleProcess::start("hold", &path);
    assert_eq!(other.number(), Some(0));
    (folder, path, other)
}

#[test]
fn the_holder_of_a_state_file_is_called_by_its_program_s_name_and_its_pid() {
    let (_folder, path, other) = held();
    let pid = other.child.id();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
    let (told, _, log) = refused(again::only!("scene_refused").env(WAIT, "0"), &path);
    let expected = format!(
        "the state file \"{}\" is in use by process {pid} (\"{}\") (waited 0 s for it to finish; \
         RUSTTCTI_LOCK_WAIT=SECONDS changes that)",
        path.display(),
        name.trim_end()
    );
    assert!(told.contains(&expected), "{told}");
    assert_eq!(log, "");
}

#[test]
fn the_wait_for_a_lock_is_set_by_a_variable_and_told_once_after_a_second() {
    let (_folder, path, other) = held();
    let mut part = again::only!("scene_refused");
    part.env(WAIT, "2").env("TSS2_LOG", "tcti+info");
    let (told, took, log) = refused(&mut part, &path);
    assert!(told.contains("(waited 2 s for it"), "{told}");
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let lines: Vec<&str> = log.lines().collect();
    let [line] = &lines[..] else {
        panic!("one line: {log}")
    };
    let expected = format!(
        "waiting up to 2 s for the state file \"{}\", in use by process {}",
        path.display(),
        other.child.id()
    );
    assert!(line.starts_with("INFO:tcti:"), "{line}");
    assert!(line.contains(&expected), "{line}");
}

#[test]
fn a_wait_that_is_no_number_of_seconds_is_refused_with_the_range() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    for value in ["soon", "-1", "86401", "1.5"] {
        let (told, ..) = refused(again::only!("scene_refused").env(WAIT, value), &path);
        let expected = format!(
            "RUSTTCTI_LOCK_WAIT=\"{value}\" is not allowed (it is a number of seconds from 0 to \
             86400)"
        );
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn a_holder_in_another_pid_namespace_is_called_that() {
    let (_folder, path, other) = held();
    let inside = again::only!("scene_refused");
    let mut part = Command::new("unshare");
    part.args(["--pid", "--fork", "--mount-proc"]);
    if !rustix::process::geteuid().is_root() {
        part.args(["--user", "--map-root-user"]);
    }
    part.arg(inside.get_program()).args(inside.get_args());
    let (told, ..) = refused(part.env(WAIT, "0"), &path);
    let expected = format!(
        "is in use by a process of another PID namespace (process {} there)",
        other.child.id()
    );
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn a_second_copy_of_rusttcti_in_one_process_is_called_that() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let (_, _, log) = refused(again::only!("scene_two_copies").env(WAIT, "0"), &path);
    let expected = "is in use by this process, through another copy of rusttcti";
    assert!(log.contains(expected), "{log}");
}

#[test]
fn a_folder_that_may_not_be_written_is_named_with_what_is_written_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let readable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), readable).expect("ours");
    let path = folder.path().join("state");
    let refused_to_nobody = || {
        std::thread::scope(|scope| {
            let nobody = scope.spawn(|| {
                rights::become_nobody_on_this_thread();
                Libtpms::builder().path(&path).open().expect_err("refused")
            });
            nobody.join().expect("it ends")
        })
    };
    let error = refused_to_nobody();
    assert_eq!(error.kind(), ErrorKind::NotPermitted);
    let (file, place) = (path.display(), folder.path().display());
    assert_eq!(
        error.report(),
        format!(
            "cannot lock the state file \"{file}\": this user may not write to the folder \
             \"{place}\", and the lock \"{file}.lock\" and each new state are written there \
               (allow \
             it, or use a file in another folder)"
        )
    );
    let lock = folder.path().join("state.lock");
    std::fs::write(&lock, "").expect("a lock");
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let report = refused_to_nobody().report();
    assert!(
        report.contains(&format!("the lock \"{file}.lock\" belongs to another user")),
        "{report}"
    );
}

#[test]
fn a_folder_that_does_not_exist_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = folder.path().join("none");
    let refused = |path: &Path| {
        let error = Libtpms::builder().path(path).open().expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::IoError);
        error.report()
    };
    let path = none.join("state");
    assert_eq!(
        refused(&path),
        format!(
            "the folder \"{0}\" of the state file \"{0}/state\" does not exist (make it: mkdir -p \
             \"{0}\")",
            none.display()
        )
    );
    let report = refused(Path::new("~/no such folder/my.tpm"));
    assert!(
        report.contains("the folder \"~/no such folder\""),
        "{report}"
    );
    assert!(report.contains("write $HOME or the whole path"), "{report}");
    std::fs::write(&none, "").expect("a file");
    let report = refused(&path);
    assert!(
        report.contains("is not a folder, or a part of its path is not"),
        "{report}"
    );
}
