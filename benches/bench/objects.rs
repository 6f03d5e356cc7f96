// SPDX-License-Identifier: BSD-2-Clause
//! More objects than a TPM has room for, over the layer rm and over tpm2-abrmd.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusttcti::Tcti;
use rusttcti::wire::{CommandBuilder, CommandCode, Handle};
use rusttcti_kit::tpm::{create_primary_ecc, ok};

/// Objects in turn, on a TPM with room for three.
const OBJECTS: usize = 6;

/// Objects that a context made, and commands that use one after the other.
pub struct Objects<T> {
    tcti: T,
    commands: Vec<Vec<u8>>,
}

impl<T: Tcti> Objects<T> {
    pub fn new(mut tcti: T) -> Self {
        let commands = (0..OBJECTS).map(|_| {
            let made = ok(&mut tcti, &create_primary_ecc());
            let handle = made[10..14].try_into().expect("a handle");
            CommandBuilder::new(CommandCode::READ_PUBLIC)
                .handle(Handle(u32::from_be_bytes(handle)))
                .build()
        });
        let commands = commands.collect();
        Self { tcti, commands }
    }

    /// Uses each object once, and returns the nanoseconds that one command took.
    pub fn turn(&mut self) -> f64 {
        let start = Instant::now();
        for command in &self.commands {
            ok(&mut self.tcti, command);
        }
        start.elapsed().as_nanos() as f64 / self.commands.len() as f64
    }
}

/// A process that is ended with the row.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

/// tpm2-abrmd over a chain of ours, on a bus of its own. `DBUS_SESSION_BUS_ADDRESS` is that
/// bus's from then on.
pub struct Abrmd {
    _daemon: Daemon,
    _bus: Daemon,
    _folder: tempfile::TempDir,
}

impl Abrmd {
    /// Returns `None` if tpm2-abrmd or its module is not installed.
    pub fn over(chain: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:dir={}", folder.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let stdout = bus.stdout.take().expect("a pipe");
        let bus = Daemon(bus);
        let mut address = String::new();
        let read = BufReader::new(stdout).read_line(&mut address);
        read.expect("the bus's address");
        // SAFETY: no other thread of this program is running now.
        unsafe { std::env::set_var("DBUS_SESSION_BUS_ADDRESS", address.trim()) };
        let daemon = rusttcti_kit::module::program("tpm2-abrmd")
            .args(["--session", "--allow-root"])
            .arg(format!("--tcti=rusttcti:{chain}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut daemon = Daemon(daemon);
        let limit = Instant::now() + Duration::from_secs(30);
        while !has_name() {
            let status = daemon.0.try_wait().expect("a status");
            assert_eq!(status, None, "tpm2-abrmd ended");
            assert!(Instant::now() < limit, "tpm2-abrmd is not on the bus");
        }
        Some(Self {
            _daemon: daemon,
            _bus: bus,
            _folder: folder,
        })
    }
}

/// Whether tpm2-abrmd has its name on the bus.
fn has_name() -> bool {
    let asked = Command::new("dbus-send")
        .args(["--session", "--print-reply", "--dest=org.freedesktop.DBus"])
        .args(["/", "org.freedesktop.DBus.NameHasOwner"])
        .arg("string:com.intel.tss2.Tabrmd")
        .output()
        .expect("dbus-send runs");
    String::from_utf8_lossy(&asked.stdout).contains("true")
}
