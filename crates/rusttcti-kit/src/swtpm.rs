// SPDX-License-Identifier: BSD-2-Clause
//! A real swtpm for one test, on its own ports or sockets.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PATIENCE, ports};

/// A running swtpm, stopped when this is dropped. Its TPM is started (Startup CLEAR).
#[derive(Debug)]
pub struct Swtpm {
    child: Child,
    address: Address,
    state: TempDir,
    options: Options,
}

/// How a swtpm is started.
#[derive(Clone, Copy, Debug)]
struct Options {
    flags: Option<&'static str>,
    /// What follows the address in `--server`.
    server: &'static str,
}

/// A swtpm whose TPM answers the first command.
const READY: Options = Options {
    flags: Some("not-need-init,startup-clear"),
    server: "",
};

#[derive(Clone, Debug)]
enum Address {
    /// The data port; the control port is the next one.
    Tcp(u16),
    /// The data socket; the control socket's name has `.ctrl` appended.
    Unix(PathBuf),
}

/// The file of the state file's key, in its folder, if the state is encrypted.
const KEY: &str = "key";

impl Swtpm {
    /// Starts a swtpm on two neighbouring TCP ports of 127.0.0.1.
    pub fn tcp() -> Self {
        Self::tcp_by(READY)
    }

    /// Starts a swtpm on two TCP ports with other `--flags`, or none, and with this at
    /// the end of `--server`'s value.
    pub fn tcp_with(flags: Option<&'static str>, server: &'static str) -> Self {
        Self::tcp_by(Options { flags, server })
    }

    fn tcp_by(options: Options) -> Self {
        let state = TempDir::new().expect("a folder for swtpm's state");
        loop {
            // If another process takes a port in between, the next round tries another
            // one.
            let address = Address::Tcp(ports::free());
            if let Some(child) = start(&address, &state, options) {
                return Self {
                    child,
                    address,
                    state,
                    options,
                };
            }
        }
    }

    /// Starts a swtpm on two unix sockets.
    pub fn unix() -> Self {
        Self::unix_in(TempDir::new().expect("a folder for swtpm's state"))
    }

    /// Starts a swtpm on two unix sockets, with an encrypted state file.
    pub fn encrypted() -> Self {
        let state = TempDir::new().expect("a folder for swtpm's state");
        std::fs::write(state.path().join(KEY), "0f".repeat(16)).expect("a key");
        Self::unix_in(state)
    }

    /// Starts a swtpm on two unix sockets, with its state in this folder.
    fn unix_in(state: TempDir) -> Self {
        let address = Address::Unix(state.path().join("tpm"));
        let child = start(&address, &state, READY).expect("swtpm listens");
        Self {
            child,
            address,
            state,
            options: READY,
        }
    }

    /// Returns the path of its state file.
    pub fn state_file(&self) -> PathBuf {
        self.state.path().join("tpm2-00.permall")
    }

    /// Returns the configuration of a transport to it.
    pub fn conf(&self) -> String {
        match &self.address {
            Address::Tcp(port) => format!("host=localhost,port={port}"),
            Address::Unix(path) => format!("path={}", path.display()),
        }
    }

    /// Returns the data port.
    pub fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) => port,
            Address::Unix(_) => panic!("this swtpm has no port"),
        }
    }

    /// Returns the id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it; its state and its address are kept.
    pub fn stop(&mut self) {
        self.child.kill().expect("swtpm is ours to kill");
        self.child.wait().expect("swtpm is ours to wait for");
        if let Address::Unix(path) = &self.address {
            for path in [path.clone(), control(path)] {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Starts it again after [`stop`](Self::stop), at the same address.
    pub fn start(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = start(&self.address, &self.state, self.options) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < until, "swtpm does not come back");
        }
    }

    /// Suspends it until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("swtpm is ours to signal");
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a swtpm and waits until it listens; returns `None` if it ended instead.
fn start(address: &Address, state: &TempDir, options: Options) -> Option<Child> {
    let (server, ctrl) = match address {
        Address::Tcp(port) => (
            format!("type=tcp,port={port}{}", options.server),
            format!("type=tcp,port={}", port + 1),
        ),
        Address::Unix(path) => (
            format!("type=unixio,path={}", path.display()),
            format!("type=unixio,path={}", control(path).display()),
        ),
    };
    let key = state.path().join(KEY);
    let key = key.exists().then(|| {
        let path = key.display();
        format!("--key=file={path},format=hex,mode=aes-cbc")
    });
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2"])
        .args(
            options
                .flags
                .map(|flags| ["--flags", flags])
                .into_iter()
                .flatten(),
        )
        .args(["--server", &server, "--ctrl", &ctrl])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.path().display()))
        .args(key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm runs (Debian's package swtpm)");
    let until = Instant::now() + PATIENCE;
    loop {
        let listens = match address {
            Address::Tcp(port) => [*port, port + 1]
                .iter()
                .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()),
            Address::Unix(path) => [path.clone(), control(path)]
                .iter()
                .all(|path| UnixStream::connect(path).is_ok()),
        };
        if child
            .try_wait()
            .expect("swtpm is ours to wait for")
            .is_some()
        {
            return None;
        }
        if listens {
            return Some(child);
        }
        assert!(Instant::now() < until, "swtpm does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn control(path: &std::path::Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".ctrl");
    path.into()
}
