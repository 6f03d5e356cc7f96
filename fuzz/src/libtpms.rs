// SPDX-License-Identifier: BSD-2-Clause
//! Any calls with any commands on an embedded TPM, in memory, through the
//! functions that C calls.

#![forbid(unsafe_code)]

use std::cell::OnceCell;

use rusttcti::header::Header;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::CommandCode;
use rusttcti_kit::commands::command;

use crate::client::Client;
use crate::input::Input;

/// Commands that say and change something, short ones and long ones.
const CODES: [CommandCode; 24] = [
    CommandCode::STARTUP,
    CommandCode::SHUTDOWN,
    CommandCode::SELF_TEST,
    CommandCode::GET_RANDOM,
    CommandCode::GET_CAPABILITY,
    CommandCode::PCR_READ,
    CommandCode::PCR_EXTEND,
    CommandCode::PCR_RESET,
    CommandCode::START_AUTH_SESSION,
    CommandCode::FLUSH_CONTEXT,
    CommandCode::CREATE_PRIMARY,
    CommandCode::READ_PUBLIC,
    CommandCode::CONTEXT_SAVE,
    CommandCode::CONTEXT_LOAD,
    CommandCode::NV_DEFINE_SPACE,
    CommandCode::NV_WRITE,
    CommandCode::NV_READ,
    CommandCode::CLEAR,
    CommandCode::HIERARCHY_CHANGE_AUTH,
    CommandCode::HIERARCHY_CONTROL,
    CommandCode::LOAD_EXTERNAL,
    CommandCode::HASH,
    CommandCode::READ_CLOCK,
    CommandCode::POLICY_GET_DIGEST,
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
    let sent = client.transmit(&command(CommandCode::GET_RANDOM, &[0, 8]));
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
            client.transmit(&tagged(tag, CommandCode(code), input.string()));
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
            client.transmit(&tagged(0x8001, CommandCode::HASH, &vec![0x5d; size]));
        }
    }
}

fn tagged(tag: u16, code: CommandCode, body: &[u8]) -> Vec<u8> {
    let mut bytes = command(code, body);
    bytes[..2].copy_from_slice(&tag.to_be_bytes());
    bytes
}
