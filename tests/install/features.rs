// SPDX-License-Identifier: BSD-2-Clause
//! The library without its Cargo features, as a firmware's crate takes it.

use std::path::Path;
use std::process::Command;

use rusttcti_kit::stage::output;

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .args([
            "--manifest-path",
            "crates/rusttcti/Cargo.toml",
            "--offline",
            "--locked",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

#[test]
fn the_library_builds_without_pcap_and_libtpms_and_has_fewer_crates_then() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-errors");
    for features in ["", "pcap", "libtpms"] {
        let mut check = cargo(&["check", "--lib", "--no-default-features"]);
        let built = check
            .args(["--features", features, "--target-dir"])
            .arg(&target)
            .output();
        let built = built.expect("cargo runs");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{features}: {told}");
        assert!(!told.contains("warning"), "{features}: {told}");
    }
    let tree = |more: &[&str]| output(cargo(&["tree", "--edges", "normal"]).args(more));
    assert!(tree(&[]).contains("pcap-file"));
    assert!(!tree(&["--no-default-features"]).contains("pcap-file"));
}
