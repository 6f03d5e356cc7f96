// SPDX-License-Identifier: BSD-2-Clause
//! A part of a test in a process of its own: this test program once more.

use std::process::{Command, Output};

/// This test program, set to run nothing but the function `name`, an ignored
/// test of the same file.
pub fn only(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([
        "--exact",
        name,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]);
    for variable in ["TSS2_LOG", "TSS2_LOGFILE"] {
        command.env_remove(variable);
    }
    command
}

/// Runs such a part to its end. It must have been there, and have passed.
pub fn played(part: &mut Command) -> Output {
    let output = part.output().expect("this program runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && told.contains("test result: ok. 1 passed;");
    assert!(
        passed,
        "{part:?}: {}\n{told}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The same as one who may mount what it likes, root or not: its mounts are for
/// itself and its children, and gone with them.
pub fn with_own_mounts(name: &str) -> Command {
    let again = only(name);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(again.get_program()).args(again.get_args());
    for (variable, value) in again.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    command
}
