// SPDX-License-Identifier: BSD-2-Clause
//! The embedded TPM's worker without memory: a new thread has no heap before its first
//! allocation.

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::alloc::refuse_to_workers;
use rusttcti_kit::commands::response_code;
use rusttcti_kit::tpm::create_primary_ecc;

fn exchange(tpm: &mut Libtpms, command: &[u8]) -> rusttcti::Result<Vec<u8>> {
    tpm.transmit(command)?;
    let mut response = vec![0; 4096];
    let size = tpm.receive(&mut response, None)?;
    response.truncate(size);
    Ok(response)
}

#[test]
fn a_worker_without_memory_fails_the_command_and_ends_no_program() {
    let mut tpm = Libtpms::builder().open().expect("a TPM");
    refuse_to_workers(true);
    let error = exchange(&mut tpm, &create_primary_ecc()).expect_err("no place for it");
    assert_eq!(error.kind(), ErrorKind::Memory, "{}", error.report());
    refuse_to_workers(false);
    let response = exchange(&mut tpm, &create_primary_ecc()).expect("a key");
    assert_eq!(response_code(&response), 0);
    // It has all the memory that it needs by now.
    refuse_to_workers(true);
    let response = exchange(&mut tpm, &create_primary_ecc()).expect("another");
    assert_eq!(response_code(&response), 0);
    refuse_to_workers(false);
}
