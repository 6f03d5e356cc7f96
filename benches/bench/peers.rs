// SPDX-License-Identifier: BSD-2-Clause
//! The two sides: contexts by name, and what they talk to.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rusttcti::{Tcti, TctiLdr};
use tempfile::TempDir;
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, size_t};

use crate::bare::Address;
use crate::common;
use crate::common::commands::{get_random, response_code};

static GET_RANDOM: LazyLock<Vec<u8>> = LazyLock::new(|| get_random(16));

/// This module, by its file, so that tctildr finds it wherever it lies.
pub fn our_module() -> String {
    common::module::file()
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

/// A context of this module, loaded as any program loads it.
pub fn ours(chain: &str) -> TctiLdr {
    open(&our_module(), chain)
}

/// A context of any module.
pub fn open(module: &str, conf: &str) -> TctiLdr {
    match TctiLdr::new(module, Some(conf)) {
        Ok(tcti) => tcti,
        Err(error) => panic!("{module}:{conf}: {}", error.report()),
    }
}

/// One TPM2_GetRandom for 16 bytes, and its response.
pub fn round(tcti: &mut impl Tcti) {
    let mut response = [0; 4096];
    tcti.transmit(&GET_RANDOM).expect("sent");
    let length = tcti.receive(&mut response, None).expect("a response");
    assert_eq!((length, response_code(&response[..length])), (28, 0));
}

/// A context's two functions, as a C program calls them.
pub struct Raw {
    context: *mut TSS2_TCTI_CONTEXT,
    functions: TSS2_TCTI_CONTEXT_COMMON_V1,
}

// SAFETY: used by one thread at a time, which every context of ours allows.
unsafe impl Send for Raw {}

impl Raw {
    /// The functions of a context whose owner outlives this.
    pub fn new(context: *mut TSS2_TCTI_CONTEXT) -> Self {
        // SAFETY: a context, which begins with these.
        let functions = unsafe { *context.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>() };
        Self { context, functions }
    }

    /// As [`round`], without the checks of what is in the response.
    #[inline]
    pub fn round(&self, response: &mut [u8; 4096]) {
        self.command(&GET_RANDOM, response);
    }

    /// A command of whichever bytes, and its response's length.
    #[inline]
    pub fn command(&self, command: &[u8], response: &mut [u8; 4096]) {
        let mut size = response.len() as size_t;
        // SAFETY: the owner outlives it; the buffers are as long as they say.
        unsafe {
            let sent = self.functions.transmit.unwrap()(
                self.context,
                command.len() as size_t,
                command.as_ptr(),
            );
            assert_eq!(sent, 0);
            let got =
                self.functions.receive.unwrap()(self.context, &mut size, response.as_mut_ptr(), -1);
            assert_eq!(got, 0);
        }
    }
}

/// The most that a peer may need to start.
const START: Duration = Duration::from_secs(10);

/// A swtpm of this run's own, ended with this value.
pub struct Swtpm {
    process: Child,
    folder: TempDir,
    port: u16,
}

impl Swtpm {
    /// On two TCP ports of loopback.
    pub fn tcp() -> Self {
        // Another process may take a port between here and swtpm's own bind.
        (0..10)
            .find_map(|_| Self::try_tcp())
            .expect("two free ports in a row")
    }

    fn try_tcp() -> Option<Self> {
        let data = TcpListener::bind(("127.0.0.1", 0)).ok()?;
        let port = data.local_addr().ok()?.port();
        let control = TcpListener::bind(("127.0.0.1", port.checked_add(1)?)).ok()?;
        drop((data, control));
        Self::start(
            port,
            &format!("type=tcp,port={port}"),
            &format!("type=tcp,port={}", port + 1),
        )
    }

    /// On a Unix socket and its control socket.
    pub fn unix() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let path = path.to_str().expect("a path in UTF-8");
        let server = format!("type=unixio,path={path}");
        let control = format!("type=unixio,path={path}.ctrl");
        Self::start_in(folder, 0, &server, &control).expect("swtpm starts")
    }

    fn start(port: u16, server: &str, control: &str) -> Option<Self> {
        Self::start_in(
            tempfile::tempdir().expect("a folder"),
            port,
            server,
            control,
        )
    }

    fn start_in(folder: TempDir, port: u16, server: &str, control: &str) -> Option<Self> {
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", folder.path().display())])
            .args(["--server", server, "--ctrl", control])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm runs (Debian's package swtpm)");
        let mut swtpm = Self {
            process,
            folder,
            port,
        };
        let start = Instant::now();
        while !swtpm.listens() {
            if swtpm.process.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(start.elapsed() < START, "swtpm does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(swtpm)
    }

    fn listens(&self) -> bool {
        match self.address() {
            Address::Port(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            Address::Path(_) => UnixStream::connect(self.path()).is_ok(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Its configuration, for the transport swtpm of either side.
    pub fn conf(&self) -> String {
        match self.port {
            0 => format!("path={}", self.path().display()),
            port => format!("host=127.0.0.1,port={port}"),
        }
    }

    pub fn address(&self) -> Address {
        match self.port {
            0 => Address::Path(self.path()),
            port => Address::Port(port),
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // Gone already is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
