// SPDX-License-Identifier: BSD-2-Clause
//! Processes that increment a counter in a TPM's state file, and are killed meanwhile.
//!
//! A test program that uses them has a test `process::other_roles`, which calls
//! [`role`].

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti};

use super::again;
use super::commands::response_code;
use super::random::Random;
use super::tpm::*;

/// The variable that gives a restarted test program its role instead of testing.
const ROLE: &str = "RUSTTCTI_TEST_ROLE";

/// Opens the embedded TPM of a state file.
pub fn open(path: &Path) -> Libtpms {
    let tpm = Libtpms::builder().path(path).open();
    tpm.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Makes a state file whose TPM has a counter at 1.
pub fn provision(path: &Path) {
    let mut tpm = open(path);
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    tpm.finalize().expect("suspended");
}

/// This program, started again in another role. It is killed when this is dropped.
pub struct RoleProcess {
    /// The process.
    pub child: Child,
    lines: BufReader<ChildStderr>,
}

impl RoleProcess {
    /// Starts this program in `role`, on the state file `path`.
    pub fn start(role: &str, path: &Path) -> Self {
        let mut child = again::command("", "process::other_roles", false)
            .env(ROLE, format!("{role}:{}", path.display()))
            .env("RUST_BACKTRACE", "0")
            // A kill, unlike a power loss, loses no written page.
            .env("RUSTTCTI_FSYNC", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, lines }
    }

    /// Returns the next number that the process reports; `None` if the process ended.
    pub fn number(&mut self) -> Option<u64> {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("read") == 0 {
                assert!(!said.contains("panicked"), "{said}");
                return None;
            }
            // A line that a kill cut short does not count as reported.
            match line.strip_prefix("ACK ").and_then(|n| n.strip_suffix('\n')) {
                Some(number) => return Some(number.parse().expect("a number")),
                None => said.push_str(&line),
            }
        }
    }

    /// Kills the process, and waits until it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the role that this program was started in, and the state file.
pub fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var(ROLE).ok()?;
    let (role, path) = role.split_once(':').expect("a role and a path");
    Some((role.to_owned(), PathBuf::from(path)))
}

/// Reports a number in one write, so that its line is reported whole or not at all.
pub fn tell(number: u64) {
    let line = format!("ACK {number}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("told");
}

/// Increments the counter for ever, and reports each value that the TPM returned.
pub fn count(path: &Path) {
    let mut tpm = open(path);
    tell(nv_read_counter(&mut tpm));
    loop {
        match call(&mut tpm, &nv_increment()) {
            Ok(response) => {
                assert_eq!(response_code(&response), 0);
                if let Some(value) = nv_read_counter_quietly(&mut tpm) {
                    tell(value);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::IoError, "{}", error.report()),
        }
    }
}

/// Reads the counter; returns `None` if the disk is full or read-only.
fn nv_read_counter_quietly(tpm: &mut Libtpms) -> Option<u64> {
    let read = authorized(
        CommandCode::NV_READ,
        &[NV_INDEX, NV_INDEX],
        1,
        &[0, 8, 0, 0],
    );
    let response = call(tpm, &read).ok()?;
    Some(u64::from_be_bytes(
        response[16..24].try_into().expect("eight bytes"),
    ))
}

/// Kills a counting process at `rounds` random moments. `during` runs at a random
/// moment while it counts, `after` when it is dead.
pub fn kill_rounds(
    path: &Path,
    rounds: usize,
    mut during: impl FnMut(&mut Random),
    after: impl Fn(),
) {
    let mut random = Random(7);
    let mut told = 1;
    let mut all = 0;
    for round in 0..rounds {
        let mut other = RoleProcess::start("count", path);
        let first = other
            .number()
            .unwrap_or_else(|| panic!("round {round}: no TPM"));
        assert!(
            first >= told,
            "round {round}: {told} was answered, {first} is kept"
        );
        told = first;
        during(&mut random);
        std::thread::sleep(Duration::from_micros(random.below(9000)));
        other.kill();
        after();
        while let Some(number) = other.number() {
            told = number;
            all += 1;
        }
    }
    let kept = nv_read_counter(&mut open(path));
    assert!(kept >= told, "{told} was answered, {kept} is kept");
    assert!(all > rounds, "only {all} increments in {rounds} rounds");
}
