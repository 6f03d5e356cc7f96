// SPDX-License-Identifier: BSD-2-Clause
//! Any calls with any commands on an embedded TPM, in memory, through the
//! functions that C calls.

#![forbid(unsafe_code)]

use std::cell::OnceCell;

use rusttcti::header::Header;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti_kit::commands::command;

use crate::client::Client;
use crate::input::Input;

/// Commands that say and change something, short ones and long ones.
const CODES: [u32; 24] = [
    0x144, // Startup
    0x145, // Shutdown
    0x143, // SelfTest
    0x17b, // GetRandom
    0x17a, // GetCapability
    0x17e, // PCR_Read
    0x182, // PCR_Extend
    0x13d, // PCR_Reset
    0x176, // StartAuthSession
    0x165, // FlushContext
    0x131, // CreatePrimary
    0x173, // ReadPublic
    0x162, // ContextSave
    0x161, // ContextLoad
    0x12a, // NV_DefineSpace
    0x137, // NV_Write
    0x14e, // NV_Read
    0x126, // Clear
    0x129, // HierarchyChangeAuth
    0x121, // HierarchyControl
    0x167, // LoadExternal
    0x17d, // Hash
    0x181, // ReadClock
    0x189, // PolicyGetDigest
];

thread_local! {
    /// A TPM that has just been made: making one takes much longer than to
    /// go on from this.
    static NEW: OnceCell<Vec<u8>> = const { OnceCell::new() };
}

fn new() -> Vec<u8> {
    let mut tpm = Libtpms::builder().open().expect("libtpms");
    tpm.snapshot().expect("its state")
}

pub(crate) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let state = NEW.with(|state| state.get_or_init(new).clone());
    let tpm = Libtpms::builder().state(state).open().expect("a TPM");
    let mut client = Client::new(tpm);
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        step(&mut client, &mut input);
    }
    // Whatever it was asked, it is a TPM.
    while client.is_waiting() {
        client.receive(4096, -1);
    }
    let sent = client.transmit(&command(0x17b, &[0, 8]));
    assert!(sent, "{}", crate::client::last_error());
    let response = client.receive(4096, -1).expect("an answer");
    assert!(Header::fits(&response));
}

fn step(client: &mut Client<Libtpms>, input: &mut Input<'_>) {
    match input.byte() & 15 {
        0..5 => {
            let code = CODES[usize::from(input.byte()) % CODES.len()];
            client.transmit(&tagged(0x8001, code, input.string()));
        }
        5..8 => {
            let code = CODES[usize::from(input.byte()) % CODES.len()];
            let handles = input.bytes(4);
            // A password session without a password.
            let session = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
            let body = [handles, &session, input.string()].concat();
            client.transmit(&tagged(0x8002, code, &body));
        }
        8 => {
            let (tag, code) = (input.number::<2>() as u16, input.number::<4>() as u32);
            client.transmit(&tagged(tag, code, input.string()));
        }
        9..12 => {
            client.receive(4096, -1);
        }
        12 => {
            let capacity = usize::from(input.byte());
            let timeout = i32::from(input.byte() & 3) - 2;
            client.receive(capacity, timeout);
        }
        13 => match input.byte() & 3 {
            0 => client.cancel(),
            1 => client.size(),
            2 => client.poll_handles(usize::from(input.byte() & 1)),
            _ => client.reset(),
        },
        14 => client.set_locality(input.byte()),
        // More than a TPM takes.
        _ => {
            let size = usize::from(input.byte()) << 5;
            client.transmit(&tagged(0x8001, 0x17d, &vec![0x5d; size]));
        }
    }
}

fn tagged(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = command(code, body);
    bytes[..2].copy_from_slice(&tag.to_be_bytes());
    bytes
}
