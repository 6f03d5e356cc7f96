// SPDX-License-Identifier: BSD-2-Clause
//! State files: any bytes for our reader, and valid files with edits, which are opened
//! as a TPM's. A file that is refused must not change.
//!
//! libtpms itself ends the process on some states that it wrote and an attacker then
//! forged: it looks at their digest, where they have one, after it has read them. So an
//! edit within libtpms's own bytes reaches our reader alone, unless a digest or our
//! checksum behind them tells of it, as it does in every file that we write.

#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::fs;

use rusttcti::ErrorKind;
use rusttcti::fuzzing::State;
use rusttcti::header::Header;
use rusttcti::transport::libtpms::{Libtpms, Startup};
use rusttcti::wire::CommandCode;
use rusttcti_kit::commands::command;
use tempfile::TempDir;

use crate::client::Client;
use crate::input::Input;

/// Valid states: of a TPM in use, of one that was suspended, and one before
/// TPM2_Startup.
struct Valid {
    folder: TempDir,
    states: Vec<State>,
}

thread_local! {
    static VALID: OnceCell<Valid> = const { OnceCell::new() };
}

impl Valid {
    fn new() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        let folder = folder.expect("a folder");
        let mut states = Vec::new();
        for startup in [Startup::Clear, Startup::None] {
            let mut tpm = Libtpms::builder().startup(startup).open().expect("libtpms");
            let bytes = tpm.snapshot().expect("its state");
            states.push(State::parse(&bytes).expect("a state"));
        }
        let path = folder.path().join("running");
        let tpm = Libtpms::builder().path(&path).open().expect("a TPM");
        let bytes = fs::read(&path).expect("its file");
        drop(tpm);
        states.push(State::parse(&bytes).expect("a state"));
        assert!(states[2].powered_off);
        fs::remove_file(path).expect("its file");
        Self { folder, states }
    }
}

pub(crate) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    VALID.with(|valid| {
        let valid = valid.get_or_init(Valid::new);
        match input.byte() {
            0 => drop(read(input.rest())),
            kind => edited(valid, kind, &mut input),
        }
    });
}

/// What is read can be written, and is read as the same.
fn read(bytes: &[u8]) -> Option<State> {
    match State::parse(bytes) {
        Ok(state) => {
            assert!(!state.permanent.is_empty());
            let again = State::parse(&state.to_bytes());
            assert_eq!(again.as_ref(), Ok(&state));
            Some(state)
        }
        Err(reason) => {
            assert!(!reason.is_empty());
            None
        }
    }
}

fn edited(valid: &Valid, kind: u8, input: &mut Input<'_>) {
    let original = &valid.states[usize::from(kind) % valid.states.len()];
    let mut bytes = original.to_bytes();
    if kind & 0x80 != 0 {
        // As tpm2-tss writes it.
        bytes.truncate(bytes.len() - 16);
    }
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        edit(&mut bytes, input);
    }
    let read = read(&bytes);
    if let Some(state) = &read {
        // No byte of libtpms was changed, or the change cannot be detected: see above.
        let known = |part: &[u8], of: fn(&State) -> &Vec<u8>| {
            part.is_empty() || valid.states.iter().any(|state| of(state) == part)
        };
        let is_known = known(&state.permanent, |state| &state.permanent)
            && known(&state.volatile, |state| &state.volatile);
        if !is_known {
            return;
        }
    }
    open(valid, &bytes, read.is_some());
}

/// Where an edit is: near an end, near what divides the parts, or anywhere.
fn place(bytes: &[u8], input: &mut Input<'_>) -> usize {
    let length = bytes.len();
    let permanent = bytes.first_chunk().map_or(0, |n| u32::from_be_bytes(*n)) as usize;
    let near = usize::from(input.byte());
    let at = match near >> 6 {
        0 => near & 63,
        1 => length.saturating_sub(near & 63),
        2 => permanent.saturating_add(near & 63).saturating_sub(28),
        _ => input.number::<3>() as usize,
    };
    at.min(length)
}

fn edit(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.byte() & 7 {
        0 | 1 => {
            let at = place(bytes, input);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= input.byte().max(1);
            }
        }
        2 => {
            let at = place(bytes, input);
            bytes.truncate(at);
        }
        3 => {
            let at = place(bytes, input);
            let end = (at + usize::from(input.byte())).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let at = place(bytes, input);
            let more = input.string().to_vec();
            bytes.splice(at..at, more);
        }
        5 => bytes.extend(std::iter::repeat_n(0, input.number::<2>() as usize)),
        6 => {
            let at = place(bytes, input);
            let number = input.number::<4>() as u32;
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&number.to_be_bytes());
            }
        }
        // Its checksum is right again.
        _ => {
            if let Ok(state) = State::parse(bytes) {
                *bytes = state.to_bytes();
            }
        }
    }
}

/// Opens a file of these bytes.
fn open(valid: &Valid, bytes: &[u8], is_readable: bool) {
    let path = valid.folder.path().join("tpm");
    fs::write(&path, bytes).expect("a file");
    let opened = Libtpms::builder().path(&path).open();
    match opened {
        Ok(tpm) => {
            assert!(is_readable, "opened what cannot be read");
            let mut client = Client::new(tpm);
            assert!(client.transmit(&command(CommandCode::GET_RANDOM, &[0, 8])));
            let response = client.receive(4096, -1).expect("an answer");
            assert!(Header::fits(&response));
            drop(client);
            let closed = fs::read(&path).expect("its file");
            State::parse(&closed).expect("what a TPM leaves can be read");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadValue, "{error:?}");
            assert!(!error.to_string().is_empty());
            let left = fs::read(&path).expect("its file");
            assert_eq!(left, bytes, "a file that was refused was changed");
        }
    }
    fs::remove_file(&path).expect("its file");
    let left = fs::read_dir(valid.folder.path()).expect("the folder");
    assert_eq!(left.count(), 0, "something is left beside the file");
}
