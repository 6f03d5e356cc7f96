// SPDX-License-Identifier: BSD-2-Clause
//! scripts/setup.sh installs missing packages if it may, and otherwise lists them. It
//! waits for an apt that is busy. On a system without dpkg, it lists the missing
//! programs. The programs that it calls are stand-ins.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// The message of apt 2.6 about the lists' lock.
const BUSY: &str = "E: Could not get lock /var/lib/apt/lists/lock. \
                    It is held by process 4711 (unattended-upgr)";

fn setup(set: &str) -> Command {
    let mut setup = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh"));
    setup.arg(set).env_remove("RUSTTCTI_SETUP");
    setup
}

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

    /// An apt-get that another program keeps from its lock, `times` times.
    fn apt_is_busy(&self, times: u32) {
        self.program(
            "apt-get",
            &format!(
                r#"echo "$1" >>"$0.log"
                if [ "$(wc -l <"$0.log")" -le {times} ]; then echo "{BUSY}" >&2; exit 100; fi
                printf '%s\n' "$@" >>"${{0%/*}}/dpkg-query.installed""#
            ),
        );
    }

    fn setup(&self, set: &str) -> Output {
        let path = std::env::var("PATH").expect("a PATH");
        self.setup_with(set, &format!("{}:{path}", self.0.path().display()))
    }

    fn setup_with(&self, set: &str, path: &str) -> Output {
        setup(set)
            .env("PATH", path)
            .env("RUSTTCTI_APT_WAIT", "3")
            .output()
            .expect("setup.sh runs")
    }

    /// Returns the arguments of apt-get.
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
    let asked_for: Vec<&str> = asked.lines().collect();
    assert_eq!(asked_for.len(), 2, "{asked}");
    assert!(asked_for[0].starts_with("update "), "{asked}");
    let installs = "install -y --no-install-recommends ";
    assert!(asked_for[1].starts_with(installs), "{asked}");
    assert!(asked.contains("tpm2-tools"), "{asked}");
    // apt waits for dpkg's locks itself.
    assert!(asked.contains("-o DPkg::Lock::Timeout="), "{asked}");
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

#[test]
fn an_apt_that_is_busy_is_waited_for_and_that_is_said() {
    let system = System::new();
    system.user(0, false);
    system.apt_is_busy(1);
    let output = system.setup("demo");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("apt is busy, and this waits"), "{said}");
    assert_eq!(said.matches("process 4711 (unattended-upgr)").count(), 1);
    // The one that failed, and the one that did not.
    assert_eq!(system.asked(), "update\nupdate\ninstall\n");
}

#[test]
fn an_apt_that_stays_busy_is_an_error_with_its_holder() {
    let system = System::new();
    system.user(0, false);
    system.apt_is_busy(u32::MAX);
    let output = system.setup("demo");
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(BUSY), "{said}");
    assert!(said.contains("needed are: "), "{said}");
}

/// Links to what setup.sh itself runs, and to nothing else of this system.
fn another_distribution() -> System {
    let system = System(tempfile::tempdir().expect("a folder"));
    let path = std::env::var_os("PATH").expect("a PATH");
    for name in [
        "bash", "basename", "cargo", "cat", "cut", "dirname", "env", "find", "grep", "head",
        "realpath", "rm", "sed", "tail",
    ] {
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.exists())
            .unwrap_or_else(|| panic!("there is no {name}"));
        std::os::unix::fs::symlink(program, system.0.path().join(name)).expect("a link");
    }
    // Of the libraries, none.
    system.program("ldconfig", "exit 0");
    system
}

#[test]
fn another_distribution_is_told_what_is_missing_by_upstream_s_names() {
    let system = another_distribution();
    let path = system.0.path().display().to_string();
    let output = system.setup_with("check", &path);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for name in [
        "a C compiler (gcc) (cc)",
        "libtpms (libtpms.so.0)",
        "tpm2-tools (tpm2_getrandom)",
        "swtpm (swtpm)",
        "OpenSC (pkcs11-tool)",
    ] {
        assert!(said.contains(&format!("  {name}\n")), "{name}: {said}");
    }
    // Debian's names are of no use there.
    for name in ["libtpms0", "libtss2-dev", "python3-dev"] {
        assert!(!said.contains(name), "{name}: {said}");
    }

    let on = setup("check")
        .env("PATH", &path)
        .env("RUSTTCTI_SETUP", "no")
        .output();
    assert!(on.expect("setup.sh runs").status.success());
}

#[test]
fn another_distribution_that_has_all_is_told_nothing() {
    let system = another_distribution();
    for name in ["cc", "pkg-config", "tpm2_getrandom"] {
        system.program(name, "exit 0");
    }
    system.program(
        "ldconfig",
        r"printf '\tlibtpms.so.0 (libc6,x86-64) => /lib/libtpms.so.0\n'",
    );
    let path = system.0.path().display().to_string();
    let output = system.setup_with("demo", &path);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output), "");
}
