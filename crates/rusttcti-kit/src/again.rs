// SPDX-License-Identifier: BSD-2-Clause
//! Runs a part of a test in a separate process: the test program starts itself again.

use std::process::{Command, Output};

pub use crate::{only, with_own_mounts};

/// Returns a command that starts this test program again, to run only the ignored test
/// `$name` of the calling module.
#[macro_export]
macro_rules! only {
    ($name:expr $(,)?) => {
        $crate::again::command(::core::module_path!(), $name, true)
    };
}

/// Returns a command as [`only!`](crate::only) does, in a separate mount namespace. The
/// part may mount file systems there, even if the caller is not root; the mounts end
/// with the process.
#[macro_export]
macro_rules! with_own_mounts {
    ($name:expr $(,)?) => {
        $crate::again::in_mount_namespace($crate::again::only!($name))
    };
}

/// Returns this test program's command line for the test `name` in `module`, a path as
/// from `module_path!()`.
pub fn command(module: &str, name: &str, ignored: bool) -> Command {
    let test = match module.split_once("::") {
        Some((_crate, module)) => format!("{module}::{name}"),
        None => name.to_owned(),
    };
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &test, "--nocapture", "--test-threads=1"]);
    if ignored {
        command.arg("--ignored");
    }
    for variable in ["TSS2_LOG", "TSS2_LOGFILE"] {
        command.env_remove(variable);
    }
    command
}

/// Set in the process that [`alone`] started.
const ALONE: &str = "RUSTTCTI_KIT_ALONE";

/// Runs `body`, the whole of the test `name` in `module`, in a process without other
/// tests: this test program starts itself again, for that test only.
pub fn alone(module: &str, name: &str, body: impl FnOnce()) {
    match std::env::var_os(ALONE) {
        Some(_) => body(),
        None => drop(played(command(module, name, false).env(ALONE, "1"))),
    }
}

/// Runs such a part to its end, and asserts that it existed and passed.
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

/// Returns `again` in a new mount namespace.
pub fn in_mount_namespace(again: Command) -> Command {
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
