// SPDX-License-Identifier: BSD-2-Clause
//! OpenSSL with tpm2-openssl over an embedded TPM, which computes with the same
//! OpenSSL in the same process.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::process::Output;

use libloading::os::unix::Library;
use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::{CommandBuilder, CommandCode, capability, property};
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::proc::printed;
use rusttcti_kit::tpm::{DEBUG_PCR, call, create_primary_ecc, ok, pcr_extend};

/// Runs openssl over the TPM of a state file, keys and random numbers from the
/// TPM before all else.
fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    rusttcti_kit::module::program("openssl")
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

/// Gives this thread an OpenSSL that can do nothing: its one provider is the
/// null provider.
fn break_openssl(libcrypto: &Library) {
    type New = unsafe extern "C" fn() -> *mut c_void;
    type Load = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;
    type SetDefault = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
    // SAFETY: the functions have these types (OSSL_LIB_CTX(3), OSSL_PROVIDER(3)).
    unsafe {
        let new = libcrypto
            .get::<New>(b"OSSL_LIB_CTX_new")
            .expect("a function");
        let load = libcrypto
            .get::<Load>(b"OSSL_PROVIDER_load")
            .expect("a function");
        let set_default = libcrypto
            .get::<SetDefault>(b"OSSL_LIB_CTX_set0_default")
            .expect("a function");
        let broken = new();
        let null: &CStr = c"null";
        assert!(!broken.is_null() && !load(broken, null.as_ptr()).is_null());
        assert!(!set_default(broken).is_null());
    }
}

#[test]
fn short_commands_work_whatever_became_of_the_programs_openssl() {
    // SAFETY: libcrypto's initialisers do nothing but their own set-up.
    let libcrypto = unsafe { Library::new("libcrypto.so.3") }.expect("libcrypto");
    let mut tpm = Libtpms::builder().open().expect("a TPM");
    ok(&mut tpm, &create_primary_ecc());
    break_openssl(&libcrypto);

    type Random = unsafe extern "C" fn(*mut u8, c_int) -> c_int;
    // SAFETY: as RAND_bytes(3) has it; one byte.
    let drawn = unsafe {
        let random = libcrypto.get::<Random>(b"RAND_bytes").expect("a function");
        random(&mut 0, 1)
    };
    assert!(drawn <= 0, "this thread's OpenSSL is not broken");

    let commands = [
        // libtpms computes these without its context of OpenSSL.
        get_random(1),
        get_random(48),
        CommandBuilder::get_capability(capability::TPM_PROPERTIES, property::FIXED, 127).build(),
        CommandBuilder::get_capability(capability::ALGS, 0, 127).build(),
        CommandBuilder::get_capability(capability::COMMANDS, 0, 127).build(),
        CommandBuilder::get_capability(capability::ECC_CURVES, 0, 127).build(),
        command(CommandCode::PCR_READ, &[0, 0, 0, 1, 0, 0x0b, 3, 7, 0, 0]),
        command(CommandCode::READ_CLOCK, &[]),
        // These need it: the first one encrypts.
        command(CommandCode::CONTEXT_SAVE, &[0x80, 0, 0, 0]),
        command(CommandCode::STIR_RANDOM, &[0, 2, 1, 2]),
        pcr_extend(DEBUG_PCR, 1),
    ];
    for _ in 0..100 {
        for command in &commands {
            ok(&mut tpm, command);
        }
    }
    // Nor is the TPM in failure mode.
    let tested = call(&mut tpm, &command(CommandCode::GET_TEST_RESULT, &[])).expect("a response"); // GetTestResult
    assert_eq!(response_code(&tested), 0);
    assert_eq!(tested[tested.len() - 4..], [0, 0, 0, 0], "TPM_RC_SUCCESS");
    tpm.finalize().expect("closed");
}
