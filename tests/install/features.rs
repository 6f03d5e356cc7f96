// SPDX-License-Identifier: BSD-2-Clause
//! The library without its Cargo features, as a crate for a small system uses it.

use std::path::Path;
use std::process::Command;

use rusttcti_kit::{module, stage::output};

/// Names the crate to a command of cargo's.
fn of_the_library(command: &mut Command) -> &mut Command {
    command
        .args(["--manifest-path", "crates/rusttcti/Cargo.toml"])
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_library_builds_without_pcap_and_libtpms_and_has_fewer_crates_then() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-errors");
    for features in ["", "pcap", "libtpms"] {
        let mut check = module::cargo(&["check", "--lib", "--no-default-features"], &target);
        let built = of_the_library(&mut check)
            .args(["--features", features])
            .output();
        let built = built.expect("cargo runs");
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{features}: {told}");
        assert!(!told.contains("warning"), "{features}: {told}");
    }
    let tree = |more: &[&str]| {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--edges", "normal"]).args(more);
        output(of_the_library(&mut tree))
    };
    assert!(tree(&[]).contains("pcap-file"));
    assert!(!tree(&["--no-default-features"]).contains("pcap-file"));
}

#[test]
fn a_layer_that_the_features_left_out_is_refused_with_the_feature_s_name() {
    // The layer wrap is on in our module, and off in the library that this one is made of.
    let library = module::own_layer();
    let chain = format!("{}:wrap,key=null:null", library.display());
    let mut run = module::program("tpm2_getrandom");
    let run = run.args(["-T", &chain, "8"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success(), "{told}");
    assert!(told.contains("feature \"wrap\""), "{told}");
}
