// SPDX-License-Identifier: BSD-2-Clause
//! Reads processes, threads and descriptors from /proc.

use std::time::{Duration, Instant};

use super::PATIENCE;

/// Waits until a condition holds, and panics if it does not hold in time.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn numbers(folder: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Returns the descriptors that this process has open, except the one used to list
/// them.
pub fn fds() -> Vec<i32> {
    fds_of(std::process::id() as i32)
}

/// Returns all descriptors that another process has open.
pub fn fds_of(pid: i32) -> Vec<i32> {
    let folder = format!("/proc/{pid}/fd");
    let mut fds = numbers(&folder);
    fds.retain(|fd| {
        let target = std::fs::read_link(format!("{folder}/{fd}"));
        target.is_ok_and(|target| !target.to_string_lossy().ends_with("/fd"))
    });
    fds
}

/// Returns how many threads this process has.
pub fn threads() -> usize {
    numbers("/proc/self/task").len()
}

/// Returns the fields of /proc/PID/stat from the state on: state, parent, group, ...
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn with_field(field: usize, value: i32, zombies: bool) -> Vec<i32> {
    let mut pids = numbers("/proc");
    pids.retain(|pid| {
        stat(*pid)
            .is_some_and(|stat| stat[field] == value.to_string() && (zombies || stat[0] != "Z"))
    });
    pids
}

/// Returns the children of this process, zombies included.
pub fn children() -> Vec<i32> {
    children_of(std::process::id() as i32)
}

/// Returns the children of a process, zombies included.
pub fn children_of(pid: i32) -> Vec<i32> {
    with_field(1, pid, true)
}

/// Returns the running processes of a group.
pub fn group(group: i32) -> Vec<i32> {
    with_field(2, group, false)
}

/// Returns the output of a program, after asserting that it succeeded.
pub fn printed(output: std::process::Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}
