// SPDX-License-Identifier: BSD-2-Clause
//! A program of the tss-esapi crate runs on our module (examples/tss-esapi).

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn a_tss_esapi_program_runs_over_the_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tss-esapi");
    let built = rusttcti_kit::module::cargo(&["build", "--quiet", "--locked"], &target)
        .current_dir(root.join("examples/tss-esapi"))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the example does not build");

    let folder = tempfile::tempdir().expect("a folder");
    let module = rusttcti_kit::module::file()
        .canonicalize()
        .expect("the module");
    symlink(module, folder.path().join("libtss2-tcti-device.so.0")).expect("a link");
    let state = folder.path().join("state");
    let output = Command::new(target.join("debug/tss-esapi-over-rusttcti"))
        .env("LD_LIBRARY_PATH", folder.path())
        .env("TCTI", format!("device:libtpms:{}", state.display()))
        .env_remove("TPM2TOOLS_TCTI")
        .output()
        .expect("the example runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim().len(),
        32,
        "16 bytes in hex"
    );
    assert!(state.is_file(), "it was our TPM");
}
