// SPDX-License-Identifier: BSD-2-Clause
//! The layer rm: any commands of two clients, and a TPM that answers as a TPM
//! does, or with other codes, other handles, no response, or any bytes.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusttcti::layer::rm::Rm;
use rusttcti::wire::{Command, CommandCode, CommandView, Header};
use rusttcti::{Error, ErrorKind, Peer, Result, Tcti};
use rusttcti_kit::model_tpm::{ModelTpm, Sizes};

use crate::input::Input;

/// The fuzzer's bytes, for the client and for the TPM.
type Decisions = Arc<Mutex<(Vec<u8>, usize)>>;

fn decide<T>(decisions: &Decisions, read: impl FnOnce(&mut Input<'_>) -> T) -> T {
    let mut decisions = decisions.lock().expect("no panic");
    let (bytes, at) = &mut *decisions;
    let mut input = Input::new(&bytes[*at..]);
    let result = read(&mut input);
    let left = input.rest().len();
    *at = bytes.len() - left;
    result
}

/// A TPM that lies now and then.
struct Liar {
    model: ModelTpm,
    decisions: Decisions,
    /// Transient handles that it gave, whether in truth or not.
    given: Arc<Mutex<HashSet<u32>>>,
    response: Option<Vec<u8>>,
}

impl Liar {
    /// No handle reaches the TPM that the TPM didn't give.
    fn check(&self, command: &[u8]) {
        assert!(Header::fits(command), "{command:x?}");
        let Ok(view) = CommandView::parse(command) else {
            return;
        };
        let flushed = view.flushed_parameter().filter(|_| !view.has_auths());
        for handle in view.handles().map(|view| view.handle).chain(flushed) {
            let is_given = self.given.lock().expect("no panic").contains(&handle.0);
            assert!(
                !handle.is_transient() || is_given,
                "{handle:x?} in {command:x?}"
            );
        }
    }

    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        let mut response = self.model.answer(command);
        decide(&self.decisions, |input| match input.byte() {
            // A code, and nothing else.
            255 => response = header(10, input.number::<2>() as u32),
            // Another handle, where there is one.
            254 if response.len() >= 14 => {
                let handle = 0x8000_0000 | u32::from(input.byte() % 4);
                response[10..14].copy_from_slice(&handle.to_be_bytes());
            }
            // Any body.
            253 => {
                let body = input.string();
                response = header(10 + body.len(), 0);
                response.extend_from_slice(body);
            }
            // Any bytes.
            252 => response = input.string().to_vec(),
            251 => self.model.restart(),
            _ => {}
        });
        let mut given = self.given.lock().expect("no panic");
        for at in 10..response.len().saturating_sub(3) {
            given.insert(u32::from_be_bytes(
                response[at..at + 4].try_into().expect("four bytes"),
            ));
        }
        response
    }
}

fn header(size: usize, code: u32) -> Vec<u8> {
    let header = Header {
        tag: 0x8001,
        size: size as u32,
        code,
    };
    header.to_bytes().to_vec()
}

impl Tcti for Liar {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.check(command);
        let fails = decide(&self.decisions, |input| input.byte() == 255);
        if fails {
            return Err(Error::new(ErrorKind::IoError, "the line is cut"));
        }
        self.response = Some(self.answer(command));
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        match decide(&self.decisions, |input| input.byte()) {
            255 => return Err(Error::new(ErrorKind::NoConnection, "it is gone")),
            254 => return Err(ErrorKind::TryAgain.into()),
            _ => {}
        }
        let bytes = self.response.take().unwrap_or_default();
        response[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn reset(&mut self) -> Result<()> {
        self.model.restart();
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        let identity = Some(format!("{:p}", Arc::as_ptr(&self.decisions)));
        Some(Peer {
            identity,
            is_exclusive: true,
            is_kernel_manager: false,
            has_view: false,
        })
    }
}

/// The handles that a client may name: its own, mostly.
struct Client {
    rm: Rm,
    handles: Vec<u32>,
    contexts: Vec<Vec<u8>>,
}

const CODES: [CommandCode; 16] = [
    CommandCode::CREATE_PRIMARY,
    CommandCode::READ_PUBLIC,
    CommandCode::HASH_SEQUENCE_START,
    CommandCode::SEQUENCE_UPDATE,
    CommandCode::SEQUENCE_COMPLETE,
    CommandCode::START_AUTH_SESSION,
    CommandCode::POLICY_CP_HASH,
    CommandCode::POLICY_GET_DIGEST,
    CommandCode::CONTEXT_SAVE,
    CommandCode::CONTEXT_LOAD,
    CommandCode::FLUSH_CONTEXT,
    CommandCode::CLEAR,
    CommandCode::HIERARCHY_CONTROL,
    CommandCode::GET_CAPABILITY,
    CommandCode::STARTUP,
    CommandCode::GET_RANDOM,
];

pub(crate) fn run(input: &[u8]) {
    let decisions = Decisions::new(Mutex::new((input.to_vec(), 0)));
    let flags = decide(&decisions, |input| input.byte());
    let sizes = Sizes {
        objects: usize::from(flags >> 4 & 3) + 1,
        ..Sizes::SMALL
    };
    let model = ModelTpm::new(sizes);
    let given = Arc::new(Mutex::new(HashSet::new()));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let liar = Liar {
            model: model.clone(),
            decisions: decisions.clone(),
            given: given.clone(),
            response: None,
        };
        let builder = Rm::builder().share(flags & 1 != 0).fork(flags & 2 != 0);
        if let Ok(rm) = builder.flush_leftovers(flags & 4 != 0).open(liar) {
            clients.push(Client {
                rm,
                handles: Vec::new(),
                contexts: Vec::new(),
            });
        }
    }
    for _ in 0..64 {
        if clients.is_empty() || decide(&decisions, |input| input.is_empty()) {
            break;
        }
        let at = decide(&decisions, |input| input.byte()) as usize % clients.len();
        step(&decisions, &mut clients[at]);
    }
}

fn step(decisions: &Decisions, client: &mut Client) {
    let command = decide(decisions, |input| command(input, client));
    if decide(decisions, |input| input.byte() == 255) {
        let handle = client.handles.first().copied().unwrap_or(0x8000_0000);
        let _ = client
            .rm
            .make_sticky(handle, decide(decisions, |input| input.flag()));
        let _ = client.rm.reset();
    }
    if client.rm.transmit(&command).is_err() {
        return;
    }
    let mut response = [0; 4096];
    for _ in 0..2000 {
        match client.rm.receive(&mut response, Some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::TryAgain => {}
            Err(_) => return,
            Ok(length) => {
                keep(client, &command, &response[..length]);
                return;
            }
        }
    }
}

/// Keeps what the client got.
fn keep(client: &mut Client, command: &[u8], response: &[u8]) {
    let body = response.get(10..).unwrap_or_default();
    let code = Header::parse(command).map(|header| CommandCode(header.code));
    match code {
        Some(CommandCode::CONTEXT_SAVE) => client.contexts.push(body.to_vec()),
        Some(code) if Command::of(code).is_some_and(|info| info.response_handle.is_some()) => {
            if let Some(handle) = body.first_chunk() {
                client.handles.push(u32::from_be_bytes(*handle));
            }
        }
        _ => {}
    }
}

/// A command that can be understood, or any bytes behind a header that fits.
fn command(input: &mut Input<'_>, client: &Client) -> Vec<u8> {
    let code = CODES[usize::from(input.byte()) % CODES.len()];
    let handle = |input: &mut Input<'_>| match input.byte() {
        at if client.handles.is_empty() || at >= 250 => 0x8000_0000 | input.number::<3>() as u32,
        at => client.handles[usize::from(at) % client.handles.len()],
    };
    let mut body = Vec::new();
    let mut tag = 0x8001u16;
    match code {
        CommandCode::CREATE_PRIMARY => {
            body.extend_from_slice(&[0x40, 0, 0, 1 + 6 * (input.byte() & 1)]);
            tag = 0x8002;
        }
        CommandCode::READ_PUBLIC
        | CommandCode::POLICY_CP_HASH
        | CommandCode::POLICY_GET_DIGEST
        | CommandCode::CONTEXT_SAVE
        | CommandCode::FLUSH_CONTEXT => body.extend_from_slice(&handle(input).to_be_bytes()),
        CommandCode::SEQUENCE_UPDATE | CommandCode::SEQUENCE_COMPLETE => {
            body.extend_from_slice(&handle(input).to_be_bytes());
            tag = 0x8002;
        }
        CommandCode::CLEAR | CommandCode::HIERARCHY_CONTROL => {
            body.extend_from_slice(&[0x40, 0, 0, 0x0c]);
            tag = 0x8002;
        }
        CommandCode::START_AUTH_SESSION => body.extend_from_slice(&[0x40, 0, 0, 7, 0x40, 0, 0, 7]),
        CommandCode::CONTEXT_LOAD if !client.contexts.is_empty() => {
            let at = usize::from(input.byte()) % client.contexts.len();
            body.extend_from_slice(&client.contexts[at]);
        }
        CommandCode::GET_CAPABILITY => {
            let first = [0x8000_0000u32, 0x0200_0000, 0x0300_0000][usize::from(input.byte()) % 3];
            for word in [
                1 + 5 * u32::from(input.byte() & 1),
                first,
                input.byte().into(),
            ] {
                body.extend_from_slice(&word.to_be_bytes());
            }
        }
        _ => {}
    }
    if tag == 0x8002 {
        let session = match input.byte() {
            0..128 => 0x4000_0009,
            _ => handle(input),
        };
        body.extend_from_slice(&[0, 0, 0, 9]);
        body.extend_from_slice(&session.to_be_bytes());
        body.extend_from_slice(&[0, 0, input.byte() & 1, 0, 0]);
    }
    body.extend_from_slice(input.string());
    let header = Header {
        tag,
        size: (10 + body.len()) as u32,
        code: code.0,
    };
    [&header.to_bytes()[..], &body].concat()
}
