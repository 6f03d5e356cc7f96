// SPDX-License-Identifier: BSD-2-Clause
//! The C module, built as it is shipped, under the name that tctildr searches for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

/// Returns a folder with `libtss2-tcti-rusttcti.so.0` in it, for LD_LIBRARY_PATH.
///
/// `make check` builds it once and names it in RUSTTCTI_MODULE_DIR; with a plain `cargo
/// test`, this function runs make.
pub fn dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| match std::env::var_os("RUSTTCTI_MODULE_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => build(),
    })
}

/// Returns the path of the module's file.
pub fn file() -> PathBuf {
    dir().join("libtss2-tcti-rusttcti.so.0")
}

/// Returns the library of examples/own-module.
pub fn own() -> PathBuf {
    example("own-module", "libbridge.so")
}

/// Returns the library of examples/own-layer.
pub fn own_layer() -> PathBuf {
    example("own-layer", "libredo.so")
}

/// Builds a crate in examples/ with the versions of our own Cargo.lock, and returns its
/// library. One test at a time builds it.
fn example(name: &str, library: &str) -> PathBuf {
    let root = root();
    let folder = root.join("examples").join(name);
    let target = scratch().join("crates");
    std::fs::create_dir_all(&target).expect("a folder");
    let lock = File::create(target.join("lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("a Cargo.lock");
    super::stage::output(cargo(&["build", "--quiet"], &target).current_dir(folder));
    target.join("debug").join(library)
}

/// Returns cargo, which is to build a crate outside of this workspace: without debug
/// information, into the target folder `folder` of tests, which several share.
pub fn cargo(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .arg("--target-dir")
        .arg(folder)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
}

/// Returns a command for a program that finds the module by its name.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("LD_LIBRARY_PATH", dir());
    for variable in [
        "TPM2TOOLS_TCTI",
        "TCTI",
        "TSS2_LOG",
        "TSS2_LOGFILE",
        "TCTI_PCAP_FILE",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Returns the folder of this repository.
pub fn root() -> &'static Path {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).expect("the kit lies in crates/")
}

/// Returns a folder for files that tests build, in cargo's target folder.
pub fn scratch() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let mut folders = program.ancestors();
    // Cargo tags a target folder only where it made the folder itself.
    let target = folders.find(|folder| {
        ["CACHEDIR.TAG", ".rustc_info.json"]
            .iter()
            .any(|mark| folder.join(mark).exists())
    });
    target.expect("a program that cargo built").join("tmp")
}

/// Builds the module as make does, and links to it by its soname.
fn build() -> PathBuf {
    let dir = scratch().join("module");
    std::fs::create_dir_all(&dir).expect("a folder");
    // Each test is a process; one at a time builds.
    let lock = File::create(dir.join("lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let target = scratch()
        .parent()
        .expect("cargo's target folder")
        .to_owned();
    super::stage::output(
        super::stage::make("build")
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("RUSTFLAGS"),
    );
    let link = dir.join("libtss2-tcti-rusttcti.so.0");
    let module = target.join("release/libtss2_tcti_rusttcti.so");
    match std::os::unix::fs::symlink(&module, &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            panic!("cannot link {}: {error}", link.display())
        }
        _ => dir,
    }
}
