// SPDX-License-Identifier: BSD-2-Clause
//! C programs over every kind of chain under valgrind, where any wrong access
//! and any leak fails. (tests/capi.rs has the embedded TPM's.)

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::mssim::Simulator;
use common::stage::{Stage, output};
use common::swtpm::Swtpm;
use common::tpm::{STARTUP, ok};

/// A program of this repository, made with the staged module's header.
fn build(stage: &Stage, source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let program = stage.path().join(source.file_stem().expect("a name"));
    output(
        Command::new("cc")
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-o"])
            .args([&program, &source])
            .args(stage.pkg_config("--cflags"))
            .args(["-ltss2-esys", "-ltss2-tctildr", "-ltss2-rc", "-ldl"]),
    );
    program
}

/// Memcheck, and its verdict as the exit code.
fn valgrind(stage: &Stage, program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "200", "valgrind", "--quiet"])
        .args(["--error-exitcode=99", "--leak-check=full"])
        .args(["--show-leak-kinds=definite,indirect,possible"])
        .args(["--errors-for-leak-kinds=definite,indirect,possible"])
        .arg(program)
        .env("LD_LIBRARY_PATH", stage.lib())
        .env("TSS2_LOG", "all+NONE")
        .env("RUSTTCTI_FSYNC", "0");
    command
}

/// A chain of each kind, with those who are at their other ends.
struct Chains {
    swtpm: Swtpm,
    unix: Swtpm,
    simulator: Simulator,
    folder: tempfile::TempDir,
}

impl Chains {
    fn new() -> Self {
        let simulator = Simulator::tcp();
        let mut tcti = rusttcti::open(&format!("mssim:{}", simulator.conf())).expect("mssim");
        ok(&mut *tcti, STARTUP);
        Self {
            swtpm: Swtpm::tcp(),
            unix: Swtpm::unix(),
            simulator,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn list(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        vec![
            format!("libtpms:{folder}/state"),
            format!("pcap,file={folder}/log:libtpms"),
            format!("swtpm:{}", self.swtpm.conf()),
            format!("pcap,file={folder}/log:swtpm:{}", self.unix.conf()),
            format!("mssim:{}", self.simulator.conf()),
            // Debian's module, which has the whole of this swtpm meanwhile.
            format!("libtss2-tcti-swtpm.so.0:{}", self.swtpm.conf()),
            r"cmd:head -c 12 >/dev/null; printf '\200\001\000\000\000\034\000\000\000\000\000\020'
              printf '0123456789abcdef'; cat >/dev/null"
                .to_owned(),
            // The last one, because it keeps its swtpm to itself.
            format!("swtpm:{},persistent=1", self.unix.conf()),
        ]
    }
}

#[test]
fn one_context_over_each_chain_is_clean() {
    let (stage, chains) = (Stage::new(), Chains::new());
    let program = build(&stage, "tests/c/contract.c");
    for chain in chains.list() {
        // The loader's way: what a context is without a TPM is told elsewhere.
        output(valgrind(&stage, &program).args(["ldr", &chain]));
    }
}

#[test]
fn the_examples_in_c_are_clean() {
    let (stage, chains) = (Stage::new(), Chains::new());
    let random = build(&stage, "examples/c/esys-getrandom.c");
    let epoll = build(&stage, "examples/c/epoll.c");
    output(valgrind(&stage, &random).arg("rusttcti:libtpms"));
    output(valgrind(&stage, &epoll).args([
        "rusttcti:libtpms".to_owned(),
        format!("rusttcti:swtpm:{}", chains.swtpm.conf()),
        format!("rusttcti:swtpm:{}", chains.unix.conf()),
        "rusttcti:libtpms".to_owned(),
    ]));
}

#[test]
fn eight_threads_are_clean() {
    let (stage, chains) = (Stage::new(), Chains::new());
    let program = build(&stage, "tests/c/threads.c");
    let folder = chains.folder.path().display();
    output(valgrind(&stage, &program).args([
        "2",
        "libtpms",
        &format!("libtpms:{folder}/state"),
        &format!("swtpm:{}", chains.swtpm.conf()),
        &format!("swtpm:{},persistent=1", chains.unix.conf()),
    ]));
}
