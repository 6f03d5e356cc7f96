// SPDX-License-Identifier: BSD-2-Clause
//! State files between processes: killed ones, waiting ones, forked ones.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use common::commands::{get_random, response_code};
use common::module::program;
use common::tpm::*;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, Tcti};

/// Says to a test program, started anew, what it is to do instead of testing.
const ROLE: &str = "RUSTTCTI_TEST_ROLE";

fn open(path: &Path) -> Libtpms {
    let tpm = Libtpms::builder().path(path).open();
    tpm.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// A state file whose TPM has a counter at 1.
fn provision(path: &Path) {
    let mut tpm = open(path);
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
}

/// This program once more, in another role. Killed when it is dropped.
struct Other {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Other {
    fn start(role: &str, path: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "other_roles", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role}:{}", path.display()))
            .env("RUST_BACKTRACE", "0")
            // A kill, other than a power loss, takes no written page with it.
            .env("RUSTTCTI_FSYNC", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, lines }
    }

    /// The next number that it tells; `None` where it ended.
    fn number(&mut self) -> Option<u64> {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("read") == 0 {
                assert!(!said.contains("panicked"), "{said}");
                return None;
            }
            // A line cut short by a kill was not told.
            match line.strip_prefix("ACK ").and_then(|n| n.strip_suffix('\n')) {
                Some(number) => return Some(number.parse().expect("a number")),
                None => said.push_str(&line),
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One write, so that a line is told whole or not at all.
fn tell(number: u64) {
    let line = format!("ACK {number}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("told");
}

/// Not a test: what `Other` runs. It does nothing where no role is given.
#[test]
fn other_roles() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, path) = role.split_once(':').expect("a role and a path");
    let path = Path::new(path);
    match role {
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

/// Increments the counter for ever and tells each value that was answered.
fn count(path: &Path) {
    let mut tpm = open(path);
    tell(nv_read_counter(&mut tpm));
    loop {
        match call(&mut tpm, &nv_increment()) {
            Ok(response) => {
                assert_eq!(response_code(&response), 0);
                let mut response = nv_read_counter_quietly(&mut tpm);
                if let Some(value) = response.take() {
                    tell(value);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::IoError, "{}", error.report()),
        }
    }
}

/// The counter; `None` where the disk is full.
fn nv_read_counter_quietly(tpm: &mut Libtpms) -> Option<u64> {
    let read = authorized(0x14e, &[NV_INDEX, NV_INDEX], 1, &[0, 8, 0, 0]);
    let response = call(tpm, &read).ok()?;
    Some(u64::from_be_bytes(
        response[16..24].try_into().expect("eight bytes"),
    ))
}

/// Opens, increments and closes, many times over.
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

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Kills a counting process in `rounds` moments; `between` comes before each.
fn kill_rounds(path: &Path, rounds: usize, mut between: impl FnMut(&mut Dice)) {
    let mut dice = Dice(7);
    let mut told = 1;
    let mut all = 0;
    for round in 0..rounds {
        let mut other = Other::start("count", path);
        let first = other
            .number()
            .unwrap_or_else(|| panic!("round {round}: no TPM"));
        assert!(
            first >= told,
            "round {round}: {told} was answered, {first} is kept"
        );
        told = first;
        between(&mut dice);
        std::thread::sleep(Duration::from_micros(dice.below(9000)));
        other.kill();
        while let Some(number) = other.number() {
            told = number;
            all += 1;
        }
    }
    let kept = nv_read_counter(&mut open(path));
    assert!(kept >= told, "{told} was answered, {kept} is kept");
    assert!(all > rounds, "only {all} increments in {rounds} rounds");
}

#[test]
fn nothing_that_was_answered_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    kill_rounds(&path, 300, |_| {});
}

#[test]
fn processes_take_turns_on_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut others = [Other::start("turns", &path), Other::start("turns", &path)];
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
    let mut other = Other::start("hold", &path);
    assert_eq!(other.number(), Some(0));
    let start = Instant::now();
    let error = Libtpms::builder().path(&path).open().err().expect("in use");
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
    let mut other = Other::start("fork", &path);
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
    let mut other = Other::start("fork-and-open", &path);
    assert_eq!(other.number(), Some(2));
    assert!(other.child.wait().expect("waited for").success());
    assert_eq!(nv_read_counter(&mut open(&path)), 2);
    assert_eq!(
        nv_read_counter(&mut open(&path.with_extension("of-the-child"))),
        1
    );
}

/// A file system of 128 KB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"])
            .arg(folder.path())
            .status()
            .expect("mount runs");
        assert!(
            status.success(),
            "this test mounts a small tmpfs, which needs root"
        );
        Self(folder)
    }

    fn fill(&self) {
        let mut file = File::create(self.0.path().join("filler")).expect("a file");
        while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn free(&self) {
        let _ = std::fs::remove_file(self.0.path().join("filler"));
    }
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

#[test]
fn a_full_disk_fails_commands_until_there_is_room_and_keeps_the_old_state() {
    let disk = SmallDisk::new();
    let path = disk.0.path().join("state");
    provision(&path);
    let mut tpm = open(&path);
    disk.fill();
    let before = std::fs::read(&path).expect("a state");
    for _ in 0..3 {
        let error = call(&mut tpm, &nv_increment()).expect_err("no room");
        assert_eq!(error.kind(), ErrorKind::IoError);
        let report = error.report();
        assert!(report.contains(&path.display().to_string()), "{report}");
        assert!(report.contains("No space left"), "{report}");
    }
    assert!(
        std::fs::read(&path).expect("a state") == before,
        "the old state is whole"
    );
    disk.free();
    // The first increment was done, and could not be stored; the others were not.
    assert_eq!(nv_read_counter(&mut tpm), 2);
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
    assert_eq!(nv_read_counter(&mut open(&path)), 3);
    let left: Vec<_> = std::fs::read_dir(disk.0.path())
        .expect("a folder")
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn nothing_is_lost_by_kills_of_two_processes_that_take_turns() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    provision(&path);
    let mut dice = Dice(11);
    let mut told = 1;
    let mut all = 0;
    for round in 0..40 {
        let mut others = [Other::start("turns", &path), Other::start("turns", &path)];
        let first = others[0].number().expect("its turn came");
        assert!(first > told, "round {round}: {told} was told, then {first}");
        std::thread::sleep(Duration::from_micros(dice.below(40_000)));
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
fn a_new_tpm_on_a_full_disk_leaves_nothing_behind() {
    let disk = SmallDisk::new();
    disk.fill();
    let path = disk.0.path().join("state");
    let error = Libtpms::builder()
        .path(&path)
        .open()
        .err()
        .expect("no room");
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
fn nothing_is_lost_by_a_kill_while_the_disk_fills_and_empties() {
    let disk = SmallDisk::new();
    let path = disk.0.path().join("state");
    provision(&path);
    kill_rounds(&path, 60, |dice| {
        disk.fill();
        std::thread::sleep(Duration::from_micros(dice.below(3000)));
        disk.free();
    });
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
            common::become_nobody_on_this_thread();
            let error = Libtpms::builder()
                .path(&path)
                .open()
                .err()
                .expect("refused");
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
