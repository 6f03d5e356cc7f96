// SPDX-License-Identifier: BSD-2-Clause
//! The process that holds a lock: the text that it writes into the lock file, and its
//! name in messages.
//!
//! ```text
//! process id   PID namespace, as in "pid:[4026531836]", if /proc tells
//! ```

#![forbid(unsafe_code)]

/// The longest text that is read from a lock's file.
pub(super) const LONGEST: usize = 64;

/// Returns the text that this process writes into its lock's file.
pub(super) fn signature() -> String {
    let namespace = namespace().unwrap_or_default();
    format!("{} {namespace}\n", std::process::id())
}

/// Returns the name, for messages, of the process that wrote this text.
pub(super) fn named(text: &str) -> String {
    let mut fields = text.split_whitespace();
    let Some(pid) = fields.next().and_then(|pid| pid.parse::<u32>().ok()) else {
        return "another process".to_owned();
    };
    match (fields.next(), namespace()) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            format!("a process of another PID namespace (process {pid} there)")
        }
        _ if pid == std::process::id() => {
            "this process, through another copy of rusttcti".to_owned()
        }
        _ => match program(pid) {
            Some(name) => format!("process {pid} (\"{name}\")"),
            None => format!("process {pid}"),
        },
    }
}

/// Returns the name of this process's PID namespace.
fn namespace() -> Option<String> {
    let name = std::fs::read_link("/proc/self/ns/pid").ok()?;
    name.into_os_string().into_string().ok()
}

/// Returns the name of the program that a process runs.
fn program(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_called_by_its_program_and_by_where_it_is() {
        let id = std::process::id();
        let own = program(id).expect("/proc");
        let ours = "this process, through another copy of rusttcti";
        assert_eq!(named(&signature()), ours);
        assert_eq!(named(&format!("{id}\n")), ours);
        assert_eq!(
            named(&format!("{id} pid:[1]\n")),
            format!("a process of another PID namespace (process {id} there)")
        );
        let parent = std::os::unix::process::parent_id();
        let name = program(parent).expect("it runs");
        assert_eq!(
            named(&format!("{parent}\n")),
            format!("process {parent} (\"{name}\")")
        );
        assert_ne!(own, "");
        // No process has this number.
        assert_eq!(named("4194305 \n"), "process 4194305");
        for text in ["", "\n", "who knows"] {
            assert_eq!(named(text), "another process", "{text:?}");
        }
    }
}
