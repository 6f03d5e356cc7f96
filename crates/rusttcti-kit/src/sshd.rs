// SPDX-License-Identifier: BSD-2-Clause
//! A real sshd on 127.0.0.1, with its own keys and configuration.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::proc;

/// A running sshd that accepts the user that started it; stopped when this is dropped.
pub struct Sshd {
    child: Child,
    port: u16,
    folder: TempDir,
    /// The empty folder that sshd needs when root runs it, if this value made it.
    made: Option<&'static Path>,
}

impl Sshd {
    /// Starts a sshd, and waits until it listens.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.path().join(key))
                .status()
                .expect("ssh-keygen (Debian: openssh-client)");
            assert!(made.success());
        }
        let privileges = Path::new("/run/sshd");
        let root = rustix::process::geteuid().is_root();
        let made = (root && std::fs::create_dir(privileges).is_ok()).then_some(privileges);
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        let config = folder.path().join("config");
        let path = folder.path().display();
        std::fs::write(
            &config,
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nPidFile none\n\
                 AuthorizedKeysFile {path}/user.pub\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            ),
        )
        .expect("a configuration");
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd (Debian: openssh-server)");
        proc::until("sshd to listen", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            child,
            port,
            folder,
            made,
        }
    }

    /// Returns a command line that runs `command` through ssh.
    pub fn ssh(&self, command: &str) -> String {
        format!(
            "ssh -F none -i '{path}/user' -p {port} -o BatchMode=yes -o LogLevel=ERROR \
             -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1 '{command}'",
            path = self.folder.path().display(),
            port = self.port,
        )
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // Each connection has a process, which ends with its client.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(made) = self.made {
            let _ = std::fs::remove_dir(made);
        }
    }
}
