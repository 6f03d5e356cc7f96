// SPDX-License-Identifier: BSD-2-Clause
//! OpenSSL with tpm2-openssl over an embedded TPM, which computes with the same
//! OpenSSL in the same process.

mod common;

use std::path::Path;
use std::process::Output;

use common::proc::printed;

/// Runs openssl over the TPM of a state file, keys and random numbers from the
/// TPM before all else.
fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    common::module::program("openssl")
        .arg(arguments[0])
        .args(["-provider", "tpm2", "-provider", "default"])
        .args(&arguments[1..])
        .current_dir(folder)
        .env("TPM2OPENSSL_TCTI", "rusttcti:libtpms:state")
        .output()
        .expect("openssl runs")
}

#[test]
fn openssl_takes_its_random_numbers_from_a_tpm_that_computes_with_openssl() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = printed(openssl(folder.path(), &["rand", "-hex", "32"]));
    let second = printed(openssl(folder.path(), &["rand", "-hex", "32"]));
    assert_eq!((first.trim().len(), second.trim().len()), (64, 64));
    assert_ne!(first, second);
}

#[test]
fn a_key_in_the_tpm_signs_for_openssl() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| printed(openssl(folder.path(), arguments));
    std::fs::write(folder.path().join("message"), "signed in a TPM").expect("written");
    run(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "group:P-256",
        "-out",
        "key.pem",
    ]);
    run(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
    let common = ["-rawin", "-digest", "sha256", "-in", "message"];
    run(&[
        &["pkeyutl", "-sign", "-inkey", "key.pem", "-out", "signature"],
        &common[..],
    ]
    .concat());

    // Verified by OpenSSL alone.
    let verified = std::process::Command::new("openssl")
        .args([
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "public.pem",
            "-sigfile",
            "signature",
        ])
        .args(common)
        .current_dir(folder.path())
        .output()
        .expect("openssl runs");
    assert!(printed(verified).contains("Signature Verified Successfully"));
}
