// SPDX-License-Identifier: BSD-2-Clause
//! scripts/setup.sh installs what is missing where it may, and says what it
//! would install where it may not. The programs that it asks are stand-ins.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder of stand-ins, found before the real programs.
struct System(TempDir);

impl System {
    fn new() -> Self {
        let system = Self(tempfile::tempdir().expect("a folder"));
        // No package is installed until apt-get was asked for it.
        system.program(
            "dpkg-query",
            r#"grep -qxF "${@: -1}" "$0.installed" && echo installed"#,
        );
        system.program(
            "apt-get",
            r#"echo "$@" >>"$0.log"; printf '%s\n' "$@" >>"${0%/*}/dpkg-query.installed""#,
        );
        system
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{script}\n")).expect("a stand-in");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a program");
    }

    fn user(&self, id: u32, sudo: bool) {
        self.program("id", &format!("echo {id}"));
        self.program(
            "sudo",
            if sudo {
                r#"[ "$1" = -n ] && shift && "$@""#
            } else {
                "exit 1"
            },
        );
    }

    fn setup(&self, set: &str) -> Output {
        let path = std::env::var("PATH").expect("a PATH");
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"))
            .arg(set)
            .env("PATH", format!("{}:{path}", self.0.path().display()))
            .output()
            .expect("setup.sh runs")
    }

    /// What apt-get was asked for.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.0.path().join("apt-get.log")).unwrap_or_default()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn who_may_not_install_is_told_which_packages_are_missing() {
    let system = System::new();
    system.user(1000, false);
    let output = system.setup("demo");
    assert!(!output.status.success());
    let said = text(&output);
    for package in [
        "apt-get install",
        "libtss2-dev",
        "libtpms0",
        "tpm2-tools",
        "pkg-config",
    ] {
        assert!(said.contains(package), "{said}");
    }
    assert_eq!(system.asked(), "");
}

#[test]
fn root_gets_the_missing_packages_installed_and_no_others() {
    let system = System::new();
    system.user(0, false);
    std::fs::write(
        system.0.path().join("dpkg-query.installed"),
        "gcc\nlibtss2-dev\n",
    )
    .expect("a list");
    let output = system.setup("demo");
    assert!(output.status.success(), "{}", text(&output));
    let asked = system.asked();
    assert!(
        asked.starts_with("update\ninstall -y --no-install-recommends "),
        "{asked}"
    );
    assert!(asked.contains("tpm2-tools"), "{asked}");
    assert!(
        !asked.contains("libtss2-dev") && !asked.contains("gcc"),
        "{asked}"
    );

    // The second time there is nothing left to do.
    let output = system.setup("demo");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(system.asked(), asked);
}

#[test]
fn sudo_without_a_password_is_enough() {
    let system = System::new();
    system.user(1000, true);
    let output = system.setup("demo");
    assert!(output.status.success(), "{}", text(&output));
    assert!(system.asked().contains("tpm2-tools"));
}

#[test]
fn an_apt_get_that_fails_is_heard() {
    let system = System::new();
    system.user(0, false);
    system.program("apt-get", "echo 'no network'; exit 100");
    let output = system.setup("demo");
    assert!(!output.status.success());
    assert!(text(&output).contains("no network"), "{}", text(&output));
}
