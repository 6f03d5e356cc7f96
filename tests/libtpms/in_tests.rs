// SPDX-License-Identifier: BSD-2-Clause
//! The README's "A TPM in your tests", as it stands there.

// README: from here
use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;

/// Returns a TPM that is set up once for your tests: here, one whose PCR 16 is
/// extended.
fn provisioned() -> Vec<u8> {
    let mut tpm = Libtpms::builder().open().expect("libtpms");
    let extend = b"\x80\x02\0\0\0\x41\0\0\x01\x82\0\0\0\x10\0\0\0\x09\x40\0\0\x09\0\0\0\0\0\
                   \0\0\0\x01\0\x0b................................";
    tpm.transmit(extend).expect("sent");
    tpm.receive(&mut [0; 4096], None).expect("a response");
    tpm.snapshot().expect("its whole state, as bytes")
}

#[test]
fn each_test_starts_from_the_same_tpm() {
    let state = provisioned();
    let mut one = Libtpms::builder().state(&*state).open().expect("a TPM");
    let other = Libtpms::builder()
        .state(&*state)
        .open()
        .expect("another TPM");
    one.reset().expect("a power cycle");
    one.restore(&state).expect("back to where it was");
    // For ESYS, SYS or any C code in this process:
    let context = rusttcti::Context::new(other);
    assert!(!context.as_ptr().is_null());
}
// README: to here

#[test]
fn the_readme_shows_this_very_code() {
    let here = include_str!("in_tests.rs");
    let (_, code) = here.split_once("// README: from here\n").expect("a mark");
    let (code, _) = code.split_once("// README: to here\n").expect("a mark");
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("```rust\n{code}```\n")), "{code}");
}
