// SPDX-License-Identifier: BSD-2-Clause
//! The transport of examples/own-module works over other byte streams than TCP, if only
//! the type and the function that opens it are changed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rusttcti::TctiExt;
use rusttcti::header::Header;
use rusttcti_kit::module;
use rusttcti_kit::pty::Pty;
use rusttcti_kit::stage::output;
use rusttcti_kit::swtpm::Swtpm;

/// README's table: what the stream is, its type, and what opens it.
fn rows() -> Vec<(String, String, String)> {
    let readme = std::fs::read_to_string(module::root().join("README.md")).expect("README.md");
    let table = readme.split("| the stream |").nth(1).expect("the table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let mut next = || cells.next().expect("a cell").trim_matches('`').to_owned();
        (next(), next(), next())
    });
    cells.collect()
}

/// Builds the example with another type and another way to open it.
fn ported(name: &str, ty: &str, open: &str) -> PathBuf {
    let example = module::root().join("examples/own-module");
    let source = std::fs::read_to_string(example.join("src/lib.rs")).expect("the example");
    let source = source.split("#[cfg(test)]").next().expect("the transport");
    let source = source
        .replace(
            "use std::{ffi::CStr, net::TcpStream, time::Duration};",
            USES,
        )
        .replace("Stream<TcpStream>", &format!("Stream<{ty}>"))
        .replace("TcpStream::connect(address)", open)
        .replace("rusttcti::{Error,", "rusttcti::{Pipes, Error,");
    assert!(!source.contains("TcpStream"), "{source}");

    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    std::fs::create_dir(root.join("src")).expect("a folder");
    std::fs::write(root.join("src/lib.rs"), source).expect("written");
    std::fs::copy(module::root().join("Cargo.lock"), root.join("Cargo.lock")).expect("a lock file");
    let manifest = std::fs::read_to_string(example.join("Cargo.toml")).expect("a manifest");
    let library = module::root().join("crates/rusttcti");
    let manifest = manifest
        .replace("\"bridge\"", &format!("\"{name}\""))
        .replace("../../crates/rusttcti", &library.display().to_string());
    std::fs::write(root.join("Cargo.toml"), manifest).expect("written");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates");
    output(module::cargo(&["build", "--quiet"], &target).current_dir(root));
    target.join(format!("debug/lib{}.so", name.replace('-', "_")))
}

/// The names that other types go by.
const USES: &str = "#![allow(unused_imports)]
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::{ffi::CStr, time::Duration};

fn child(command: &str) -> std::io::Result<Pipes<ChildStdout, ChildStdin>> {
    let mut child = Command::new(\"/bin/sh\")
        .args([\"-c\", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdout, stdin) = (child.stdout.take(), child.stdin.take());
    Ok(Pipes::new(stdout.expect(\"piped\"), stdin.expect(\"piped\")))
}
";

/// Answers as a TPM, until the stream ends.
fn serve(mut stream: impl Read + Write) {
    let mut tpm = rusttcti::open("libtpms").expect("a TPM");
    let mut bytes = [0; 4096];
    while stream.read_exact(&mut bytes[..Header::SIZE]).is_ok() {
        let size = Header::parse(&bytes).expect("ten bytes").size as usize;
        stream
            .read_exact(&mut bytes[Header::SIZE..size])
            .expect("a command");
        let response = tpm.execute(&bytes[..size], None).expect("a response");
        stream.write_all(&response).expect("taken");
    }
}

fn gives_random_bytes(library: &Path, conf: &str) {
    let tcti = format!("{}:{conf}", library.display());
    let random = output(
        Command::new("timeout")
            .args(["30", "tpm2_getrandom", "--hex", "16", "-T", &tcti])
            .env_remove("TSS2_LOG"),
    );
    assert_eq!(random.len(), 32, "{tcti}: {random}");
}

#[test]
fn the_transport_in_the_readme_ports_to_other_streams_by_its_type() {
    let rows = rows();
    let names: Vec<&str> = rows.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(
        names,
        [
            "a TCP connection",
            "a unix socket",
            "a serial line",
            "a child's pipes"
        ]
    );
    let example = std::fs::read_to_string(module::root().join("examples/own-module/src/lib.rs"));
    let example = example.expect("the example");
    assert!(example.contains(&format!("Stream<{}>", rows[0].1)) && example.contains(&rows[0].2));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || serve(listener.accept().expect("a connection").0));
    let library = ported("over-unix", &rows[1].1, &rows[1].2);
    gives_random_bytes(&library, &path.display().to_string());

    let pty = Pty::new();
    let master: File = pty.master.try_clone().expect("a copy");
    // It ends with this program: a terminal has no end before.
    thread::spawn(move || serve(master));
    let library = ported("over-tty", &rows[2].1, &rows[2].2);
    gives_random_bytes(&library, pty.path());
    gives_random_bytes(&library, pty.path());

    let tpm = Swtpm::tcp();
    let library = ported("over-pipes", &rows[3].1, &rows[3].2);
    gives_random_bytes(&library, &format!("tpm2_send -T swtpm:{}", tpm.conf()));
}
