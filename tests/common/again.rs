// SPDX-License-Identifier: BSD-2-Clause
//! A part of a test in a process of its own: this test program once more.

use std::process::Command;

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
