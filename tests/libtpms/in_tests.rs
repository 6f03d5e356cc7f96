// SPDX-License-Identifier: BSD-2-Clause
//! The code of the README's section "A TPM in your tests".

// README: from here
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::{CommandBuilder, CommandCode, Handle};
use rusttcti::{Tcti, TctiExt};

/// Returns the state of a TPM that is set up for your tests: PCR 16 is extended.
fn provisioned() -> Vec<u8> {
    let mut tpm = Libtpms::builder().open().expect("libtpms");
    let extend = CommandBuilder::new(CommandCode::PCR_EXTEND)
        .handle(Handle(16))
        .empty_password()
        .bytes(&[0, 0, 0, 1, 0, 0x0b]) // one digest, SHA-256
        .bytes(&[7; 32])
        .build();
    tpm.execute(&extend, None).expect("a response");
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
