// SPDX-License-Identifier: BSD-2-Clause
//! Measures that are counted, not timed: system calls, instructions, memory.

use std::fs;
use std::process::{Command, Output};

/// This program, which runs itself in another role.
fn myself() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a file"));
    command.arg("--inside");
    command
}

fn finished(mut command: Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}

/// A tool that runs this program: its name and arguments go first.
fn under(tool: &str, options: &[&str], inside: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command
        .args(options)
        .arg(myself().get_program())
        .arg("--inside")
        .args(inside);
    command
}

/// The difference that more commands make, for each of them: what opening and
/// closing costs cancels out.
fn per_command(few: u32, many: u32, count: impl Fn(&str) -> f64) -> f64 {
    let difference = count(&many.to_string()) - count(&few.to_string());
    difference / f64::from(many - few)
}

/// Whose system calls count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Those of all threads, and of child processes.
    OfAll,
    /// Those of the calling thread alone: a child process plays the TPM.
    OfTheCaller,
}

/// System calls a command.
pub fn system_calls(module: &str, conf: &str, whose: Calls) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("calls");
    let name = file.to_str().expect("a path in UTF-8");
    per_command(20, 70, |times| {
        let mut options = vec!["-qq", "-e", "signal=none", "-o", name];
        if whose == Calls::OfAll {
            options.push("-f");
        }
        let inside = ["commands", module, conf, times];
        finished(under("strace", &options, &inside));
        let calls = fs::read_to_string(&file).expect("strace's output");
        // The second half of a call that another thread's came between.
        let whole = calls.lines().filter(|line| !line.contains(" resumed>"));
        whole.count() as f64
    })
}

/// Instructions a round trip through the bridge.
pub fn bridge_instructions() -> f64 {
    per_command(1000, 11_000, |times| {
        let options = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let output = finished(under("valgrind", &options, &["bridge", times]));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let collected = text
            .lines()
            .find_map(|line| line.split_once("Collected :"))
            .unwrap_or_else(|| panic!("valgrind says nothing of what it collected: {text}"));
        collected.1.trim().parse().expect("a number")
    })
}

/// Runs a program to its end.
pub fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args);
    finished(command);
}

/// The largest resident set of a program, in KiB.
pub fn peak_memory(program: &str, args: &[&str]) -> f64 {
    let mut command = myself();
    command.args(["spawn", program]).args(args);
    printed(command)
}

/// What each of `count` embedded TPMs adds to a process, in KiB.
pub fn memory_per_tpm(count: u32) -> f64 {
    let mut command = myself();
    command.args(["memory", &count.to_string()]);
    printed(command)
}

fn printed(command: Command) -> f64 {
    let output = finished(command);
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("a number, not {text:?}"))
}
