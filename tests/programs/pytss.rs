// SPDX-License-Identifier: BSD-2-Clause
//! Python's tpm2-pytss uses the module (tests/programs/pytss.py). It is built against
//! the system's libtss2-dev in a virtual environment of the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rusttcti_kit::proc::printed;

/// The version that was tried; a newer one is a change to make on purpose.
const PYTSS: &str = "tpm2-pytss==3.0.0";

/// As in Debian 12; it runs the document's example.
const PYTEST: &str = "pytest==7.2.1";

/// The environment's Python, made at the first run and kept.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pytss");
    // One test at a time makes it.
    let lock = File::create(folder.with_extension("lock")).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("locked");
    let python = folder.join("bin/python");
    let has_it = Command::new(&python)
        .args(["-c", "import tpm2_pytss, pytest"])
        .output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        // Not the python3 of the PATH: the one whose headers are a Debian package.
        let mut venv = Command::new("/usr/bin/python3");
        let made = venv.args(["-m", "venv", "--clear"]).arg(&folder);
        printed(made.output().expect("python3 runs"));
        let pip = Command::new(&python)
            .args(["-m", "pip", "install", "-q", PYTSS, PYTEST])
            .output();
        printed(pip.expect("pip runs"));
    }
    python
}

#[test]
fn pytss_loads_the_module_puts_esapi_on_it_and_wraps_it_in_a_pytcti() {
    let python = python();
    let checked = rusttcti_kit::module::program(python.to_str().expect("UTF-8"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/pytss.py"))
        .env("TSS2_LOG", "all+none")
        .output();
    let told = printed(checked.expect("python runs"));
    for check in [
        "loads_and_names",
        "errors_are_exceptions",
        "esapi_on_top",
        "pytcti_around_us",
    ] {
        assert!(told.contains(&format!("{check} passed")), "{told}");
    }
}

#[test]
fn the_pytest_fixture_of_the_document_gives_each_test_a_provisioned_tpm() {
    let python = python();
    let document = include_str!("../../docs/testing.md");
    let (_, code) = document.split_once("```python\n").expect("an example");
    let (code, _) = code.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test_example.py"), code).expect("written");
    let ran = rusttcti_kit::module::program(python.to_str().expect("UTF-8"))
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "test_example.py",
        ])
        .current_dir(folder.path())
        .output();
    let told = printed(ran.expect("python runs"));
    assert!(told.contains("2 passed"), "{told}");
}
