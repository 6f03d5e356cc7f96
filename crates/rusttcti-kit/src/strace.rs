// SPDX-License-Identifier: BSD-2-Clause
//! The system calls of a part of a test, as strace records them.

use std::process::Command;

/// Marks, for strace, the beginning or the end of the part to be counted.
pub fn mark() {
    let _ = std::fs::metadata("/rusttcti-mark");
}

/// Returns the names of the system calls between the two [`mark`]s of `program`
/// (from [`only!`](crate::only)), on the thread that made them, in order.
pub fn calls(program: &Command, environment: &[(&str, &str)]) -> Vec<String> {
    let trace = tempfile::NamedTempFile::new().expect("a file for the trace");
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(trace.path());
    strace.arg(program.get_program()).args(program.get_args());
    strace.envs(environment.iter().copied());
    let output = strace
        .output()
        .expect("strace runs (Debian's package strace)");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(trace.path()).expect("a trace");
    let marked = text.lines().filter(|line| line.contains("/rusttcti-mark"));
    let marked: Vec<_> = marked.collect();
    let [begin, _end] = marked[..] else {
        panic!("two marks in the trace: {marked:?}");
    };
    let (thread, _) = begin.split_once(' ').expect("a thread's id");
    text.lines()
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| !line.contains("/rusttcti-mark"))
        .filter_map(|line| line.strip_prefix(thread)?.strip_prefix(' '))
        .filter(|line| !line.trim_start().starts_with("<..."))
        // With debug assertions, std checks before each close that the descriptor is
        // open.
        .filter(|line| !(cfg!(debug_assertions) && line.contains("F_GETFD")))
        .filter_map(|line| Some(line.trim_start().split_once('(')?.0.to_owned()))
        .collect()
}
