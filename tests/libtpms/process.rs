// SPDX-License-Identifier: BSD-2-Clause
//! State files and processes that are killed, wait or fork.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::counter::{RoleProcess, count, kill_rounds, open, provision, role, tell};
use rusttcti_kit::module::program;
use rusttcti_kit::random::Random;
use rusttcti_kit::tpm::*;

/// Not a test: `RoleProcess` runs it. It does nothing without a role.
#[test]
fn other_roles() {
    let Some((role, path)) = role() else {
        return;
    };
    let path = &*path;
    match &*role {
        "count" => count(path),
        "turns" => turns(path),
        "hold" => {
            let _tpm = open(path);
            tell(0);
            std::thread::sleep(Duration::from_secs(60));
        }
        "fork" => hold_with_a_child(path),
        "fork-and-open" => fork_and_open(path),
        other => panic!("no role {other}"),
    }
}

/// Opens, increments and closes, many times.
fn turns(path: &Path) {
    for _ in 0..20 {
        let mut tpm = open(path);
        ok(&mut tpm, &nv_increment());
        tell(nv_read_counter(&mut tpm));
        tpm.finalize().expect("suspended");
    }
}

/// Holds a state file, and has a child that lives on.
fn hold_with_a_child(path: &Path) {
    let _tpm = open(path);
    // SAFETY: the child does nothing but sleep and exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as before.
        unsafe {
            libc::sleep(60);
            libc::_exit(0);
        }
    }
    tell(u64::try_from(pid).expect("a child"));
    std::thread::sleep(Duration::from_secs(60));
}

/// The child of a process with open TPMs opens some of its own.
fn fork_and_open(path: &Path) {
    let mut tpm = open(path);
    let mut memory = rusttcti::open("libtpms").expect("a TPM");
    ok(&mut tpm, &create_primary_ecc()); // there is a worker thread now
    let own = path.with_extension("of-the-child");
    // SAFETY: this test program's only other thread waits for this one.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let error = call(&mut tpm, &get_random(16)).expect_err("the parent's");
            assert_eq!(error.kind(), ErrorKind::BadContext);
            tpm.finalize().expect("nothing to do");
            let mut memory = rusttcti::open("libtpms").expect("a TPM");
            ok(&mut memory, &get_random(16));
            ok(&mut memory, &create_primary_ecc());
            provision(&own);
            drop((memory, tpm));
        }));
        // SAFETY: ends the child at once, without the parent's destructors.
        unsafe { libc::_exit(done.is_err().into()) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
    ok(&mut memory, &get_random(16));
    ok(&mut tpm, &nv_increment());
    tell(nv_read_counter(&mut tpm));
    tpm.finalize().expect("suspended");
}

#[test]
fn nothing_that_was_answered_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    kill_rounds(&path, 300, |_| {}, || {});
}

#[test]
fn processes_take_turns_on_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut others = [
        RoleProcess::start("turns", &path),
        RoleProcess::start("turns", &path),
    ];
    let mut told = Vec::new();
    for other in &mut others {
        while let Some(number) = other.number() {
            told.push(number);
        }
        assert!(other.child.wait().expect("waited for").success());
    }
    told.sort_unstable();
    assert_eq!(told, (2..=41).collect::<Vec<u64>>());
    assert_eq!(nv_read_counter(&mut open(&path)), 41);
}

#[test]
fn a_file_in_use_is_refused_with_its_users_pid_until_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut other = RoleProcess::start("hold", &path);
    assert_eq!(other.number(), Some(0));
    let start = Instant::now();
    let error = Libtpms::builder().path(&path).open().expect_err("in use");
    assert!(start.elapsed() > Duration::from_secs(4), "it is waited for");
    let report = error.report();
    assert!(report.contains(&path.display().to_string()), "{report}");
    assert!(
        report.contains(&format!("process {}", other.child.id())),
        "{report}"
    );
    other.kill();
    let start = Instant::now();
    drop(open(&path));
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "the lock ended with its holder"
    );
}

#[test]
fn a_killed_users_lock_does_not_live_on_in_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut other = RoleProcess::start("fork", &path);
    let child = other.number().expect("a child");
    other.child.kill().expect("killed");
    other.child.wait().expect("waited for");
    let opened = Libtpms::builder().path(&path).open().map(drop);
    let pid = rustix::process::Pid::from_raw(child as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("still alive");
    opened.unwrap_or_else(|error| panic!("{}", error.report()));
}

#[test]
fn a_forked_child_opens_tpms_of_its_own_and_leaves_the_parents_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut other = RoleProcess::start("fork-and-open", &path);
    assert_eq!(other.number(), Some(2));
    assert!(other.child.wait().expect("waited for").success());
    assert_eq!(nv_read_counter(&mut open(&path)), 2);
    assert_eq!(
        nv_read_counter(&mut open(&path.with_extension("of-the-child"))),
        1
    );
}

#[test]
fn nothing_is_lost_by_kills_of_two_processes_that_take_turns() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut random = Random(11);
    let mut told = 1;
    let mut all = 0;
    for round in 0..300 {
        let mut others = [
            RoleProcess::start("turns", &path),
            RoleProcess::start("turns", &path),
        ];
        let first = others[0].number().expect("its turn came");
        assert!(first > told, "round {round}: {told} was told, then {first}");
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        for other in &mut others {
            other.kill();
        }
        told = first;
        for other in &mut others {
            while let Some(number) = other.number() {
                told = told.max(number);
                all += 1;
            }
        }
    }
    let kept = nv_read_counter(&mut open(&path));
    assert!(kept >= told, "{told} was answered, {kept} is kept");
    assert!(all > 0, "each kill came before the second increment");
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).expect("root's");
    let before = std::fs::read(&path).expect("a state");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            rusttcti_kit::rights::become_nobody_on_this_thread();
            let error = Libtpms::builder().path(&path).open().expect_err("refused");
            let report = error.report();
            assert!(report.contains("cannot read the state file"), "{report}");
            assert!(report.contains("Permission denied"), "{report}");
        });
    });
    assert!(std::fs::read(&path).expect("a state") == before);
}

/// Runs one of tpm2-tools on a state file, and returns what it prints.
fn tool(path: &Path, name: &str, arguments: &[&str]) -> String {
    let output = program(name)
        .args(["-T", &format!("rusttcti:libtpms:{}", path.display())])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error} (Debian package tpm2-tools)"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    assert_eq!(errors, "", "{name} {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tpm2_tools_share_a_tpm_from_process_to_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let random = tool(&path, "tpm2_getrandom", &["--hex", "16"]);
    assert_ne!(random, tool(&path, "tpm2_getrandom", &["--hex", "16"]));

    let zero = tool(&path, "tpm2_pcrread", &["sha256:16"]);
    let digest = format!("16:sha256={:064x}", 1);
    tool(&path, "tpm2_pcrextend", &[&digest]);
    let extended = tool(&path, "tpm2_pcrread", &["sha256:16"]);
    assert_ne!(zero, extended);
    assert_eq!(extended, tool(&path, "tpm2_pcrread", &["sha256:16"]));

    let key = file("key.ctx");
    tool(
        &path,
        "tpm2_createprimary",
        &["-Q", "-G", "ecc", "-c", &key],
    );
    assert!(tool(&path, "tpm2_readpublic", &["-c", &key]).contains("ecc"));

    let data = file("data");
    std::fs::write(&data, "kept").expect("written");
    tool(&path, "tpm2_nvdefine", &["-Q", "0x1000001", "-s", "4"]);
    tool(&path, "tpm2_nvwrite", &["-Q", "0x1000001", "-i", &data]);
    assert_eq!(
        tool(&path, "tpm2_nvread", &["0x1000001", "-s", "4"]),
        "kept"
    );
}
