// SPDX-License-Identifier: BSD-2-Clause
//! tpm2-abrmd on a separate D-Bus: it uses our module, and its own C module is the
//! transport of a chain of ours.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rusttcti_kit::PATIENCE;

/// A process that is ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// A session bus, and its address.
fn bus(folder: &Path) -> (Daemon, String) {
    let mut daemon = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address"])
        .arg(format!("--address=unix:dir={}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("dbus-daemon runs");
    let stdout = daemon.stdout.take().expect("a pipe");
    let daemon = Daemon(daemon);
    let mut address = String::new();
    BufReader::new(stdout)
        .read_line(&mut address)
        .expect("its address");
    assert!(address.starts_with("unix:"), "{address:?}");
    (daemon, address.trim().to_owned())
}

/// tpm2-abrmd over our embedded TPM, once its name is on the bus.
fn abrmd(address: &str, state: &Path) -> Daemon {
    let daemon = rusttcti_kit::module::program("tpm2-abrmd")
        .args(["--session", "--allow-root"])
        .arg(format!("--tcti=rusttcti:libtpms:{}", state.display()))
        .env("DBUS_SESSION_BUS_ADDRESS", address)
        .spawn()
        .expect("tpm2-abrmd runs");
    let mut daemon = Daemon(daemon);
    let limit = Instant::now() + PATIENCE;
    loop {
        let asked = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.DBus",
                "/",
            ])
            .args([
                "org.freedesktop.DBus.NameHasOwner",
                "string:com.intel.tss2.Tabrmd",
            ])
            .env("DBUS_SESSION_BUS_ADDRESS", address)
            .output()
            .expect("dbus-send runs");
        if String::from_utf8_lossy(&asked.stdout).contains("true") {
            return daemon;
        }
        assert_eq!(
            daemon.0.try_wait().expect("a status"),
            None,
            "tpm2-abrmd ended"
        );
        assert!(Instant::now() < limit, "tpm2-abrmd is not on the bus");
    }
}

#[test]
fn a_chain_ends_in_tpm2_abrmd_s_module_and_abrmd_stands_on_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_bus, address) = bus(folder.path());
    let _abrmd = abrmd(&address, &folder.path().join("state"));
    let capture = folder.path().join("capture.pcapng");
    let chain = format!(
        "rusttcti:pcap,file={}:tabrmd:bus_type=session",
        capture.display()
    );
    for program in [
        &["tpm2_getrandom", "--hex", "16"][..],
        &["tpm2_pcrread", "sha256:0"],
    ] {
        let output = rusttcti_kit::module::program(program[0])
            .args(&program[1..])
            .args(["-T", &chain])
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .output()
            .expect("tpm2-tools run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!output.stdout.is_empty());
    }
    assert!(std::fs::metadata(&capture).expect("a capture").len() > 500);
}
