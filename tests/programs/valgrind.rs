// SPDX-License-Identifier: BSD-2-Clause
//! C programs over every kind of chain under valgrind: any wrong access and any leak
//! fails. (tests/abi/c_programs.rs does this for the embedded TPM.)

use std::path::{Path, PathBuf};
use std::process::Command;

use rusttcti_kit::chains::Chains;
use rusttcti_kit::stage::{Stage, output};

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

#[test]
fn one_context_over_each_chain_is_clean() {
    let (stage, chains) = (Stage::new(), Chains::new());
    let program = build(&stage, "tests/c/contract.c");
    let answers = r"cmd:head -c 12 >/dev/null
        printf '\200\001\000\000\000\034\000\000\000\000\000\0200123456789abcdef'
        cat >/dev/null";
    for chain in [
        chains.state(),
        chains.recorded("libtpms"),
        chains.swtpm(),
        chains.recorded(&format!("swtpm:{}", chains.unix.conf())),
        chains.mssim(),
        chains.c_module(),
        answers.to_owned(),
        chains.persistent(),
    ] {
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
        format!("rusttcti:{}", chains.swtpm()),
        format!("rusttcti:swtpm:{}", chains.unix.conf()),
        "rusttcti:libtpms".to_owned(),
    ]));
}

#[test]
fn eight_threads_are_clean() {
    let (stage, chains) = (Stage::new(), Chains::new());
    let program = build(&stage, "tests/c/threads.c");
    output(valgrind(&stage, &program).args(["2", "libtpms"]).args([
        chains.state(),
        chains.swtpm(),
        chains.persistent(),
    ]));
}
