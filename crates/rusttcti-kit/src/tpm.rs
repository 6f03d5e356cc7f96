// SPDX-License-Identifier: BSD-2-Clause
//! Commands to a TPM behind a transport, with their results.

use std::sync::LazyLock;

use rusttcti::wire::{CommandBuilder, CommandCode, Handle, startup_type};
use rusttcti::{Result, Tcti};

use super::PATIENCE;
use super::commands::{command, response_code};

/// TPM2_Startup(CLEAR).
pub static STARTUP: LazyLock<Vec<u8>> =
    LazyLock::new(|| CommandBuilder::startup(startup_type::CLEAR).build());
/// PCR 16, which any program may reset.
pub const DEBUG_PCR: u32 = 16;
/// The NV index that the tests use.
pub const NV_INDEX: u32 = 0x0100_0001;
const OWNER: u32 = 0x4000_0001;

/// Sends a command, and waits for the response.
pub fn call(tcti: &mut dyn Tcti, command: &[u8]) -> Result<Vec<u8>> {
    tcti.transmit(command)?;
    let mut response = vec![0; 4096];
    let size = tcti.receive(&mut response, Some(PATIENCE))?;
    response.truncate(size);
    Ok(response)
}

/// Sends a command that must succeed, and returns its response.
pub fn ok(tcti: &mut dyn Tcti, command: &[u8]) -> Vec<u8> {
    let response = call(tcti, command).expect("a response");
    assert_eq!(response_code(&response), 0, "{command:02x?}");
    response
}

/// Returns a command with empty-password authorizations for its first `count` handles.
pub fn authorized(code: CommandCode, handles: &[u32], count: usize, parameters: &[u8]) -> Vec<u8> {
    let mut builder = CommandBuilder::new(code).bytes(parameters);
    for handle in handles {
        builder = builder.handle(Handle(*handle));
    }
    for _ in 0..count {
        builder = builder.empty_password();
    }
    builder.build()
}

/// Returns TPM2_PCR_Extend of a PCR's SHA-256 bank by 32 equal bytes.
pub fn pcr_extend(pcr: u32, byte: u8) -> Vec<u8> {
    let digests = [&[0, 0, 0, 1, 0, 0x0b][..], &[byte; 32]].concat();
    authorized(CommandCode::PCR_EXTEND, &[pcr], 1, &digests)
}

/// Returns a PCR's SHA-256 value.
pub fn pcr_read(tcti: &mut dyn Tcti, pcr: u32) -> Vec<u8> {
    let mut selection = [0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0];
    selection[7 + pcr as usize / 8] = 1 << (pcr % 8);
    let response = ok(tcti, &command(CommandCode::PCR_READ, &selection));
    response[response.len() - 32..].to_vec()
}

/// Returns TPM2_NV_DefineSpace: a counter of 8 bytes, open to all.
pub fn nv_define_counter() -> Vec<u8> {
    let public = [
        &[0, 0, 0, 14][..], // no password, 14 bytes
        &NV_INDEX.to_be_bytes(),
        &[0, 0x0b, 2, 0x04, 0, 0x14, 0, 0, 0, 8], // SHA-256, NO_DA|AUTHREAD|COUNTER|AUTHWRITE
    ]
    .concat();
    authorized(CommandCode::NV_DEFINE_SPACE, &[OWNER], 1, &public)
}

/// Returns TPM2_NV_Increment.
pub fn nv_increment() -> Vec<u8> {
    authorized(CommandCode::NV_INCREMENT, &[NV_INDEX, NV_INDEX], 1, &[])
}

/// Returns the counter's value, by TPM2_NV_Read.
pub fn nv_read_counter(tcti: &mut dyn Tcti) -> u64 {
    let read = authorized(
        CommandCode::NV_READ,
        &[NV_INDEX, NV_INDEX],
        1,
        &[0, 8, 0, 0],
    );
    let response = ok(tcti, &read);
    u64::from_be_bytes(response[16..24].try_into().expect("eight bytes"))
}

/// Returns TPM2_CreatePrimary of an ECC P-256 storage key.
pub fn create_primary_ecc() -> Vec<u8> {
    let public = [
        0, 0x23, 0, 0x0b, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 0x80, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0,
        0, 0, 0,
    ];
    create_primary(&public)
}

/// Returns TPM2_CreatePrimary of an RSA storage key.
pub fn create_primary_rsa(bits: u16) -> Vec<u8> {
    let [high, low] = bits.to_be_bytes();
    let public = [
        0, 1, 0, 0x0b, 0, 3, 0, 0x72, 0, 0, 0, 6, 0, 0x80, 0, 0x43, 0, 0x10, high, low, 0, 0, 0, 0,
        0, 0,
    ];
    create_primary(&public)
}

fn create_primary(public: &[u8]) -> Vec<u8> {
    let parameters = [
        &[0, 4, 0, 0, 0, 0][..],
        &(public.len() as u16).to_be_bytes(),
        public,
        &[0, 0, 0, 0, 0, 0],
    ]
    .concat();
    authorized(CommandCode::CREATE_PRIMARY, &[OWNER], 1, &parameters)
}
