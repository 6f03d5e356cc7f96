// SPDX-License-Identifier: BSD-2-Clause
//! The commands of programs, and a bus between the layer and a TPM that records and
//! changes messages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusttcti::layer::wrap::Wrap;
use rusttcti::wire::{CommandCode, ResponseBuilder, ResponseCode, tag};
use rusttcti::{Result, Tcti};

pub const OWNER: u32 = 0x4000_0001;
pub const NULL: u32 = 0x4000_0007;
pub const PASSWORD: u32 = 0x4000_0009;
pub const LOCKOUT: u32 = 0x4000_000a;
pub const ENDORSEMENT: u32 = 0x4000_000b;
pub const PLATFORM: u32 = 0x4000_000c;

/// The commands and responses that passed below the layer.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Exchange>>>);

/// A command and its response.
pub type Exchange = (Vec<u8>, Vec<u8>);

impl Recording {
    pub fn all(&self) -> Vec<Exchange> {
        self.0.lock().expect("unpoisoned").clone()
    }

    pub fn clear(&self) {
        self.0.lock().expect("unpoisoned").clear();
    }

    /// Returns the codes of the commands.
    pub fn codes(&self) -> Vec<CommandCode> {
        self.all()
            .iter()
            .map(|(command, _)| command_code(command))
            .collect()
    }

    /// Returns whether `secret` passed, in either direction.
    pub fn has(&self, secret: &[u8]) -> bool {
        let within = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        self.all()
            .iter()
            .any(|(command, response)| within(command) || within(response))
    }
}

type Change = Box<dyn FnMut(&mut Vec<u8>, &mut Vec<u8>) + Send>;

/// The changes to commands and to responses on their way.
#[derive(Clone, Default)]
pub struct Meddler {
    command: Arc<Mutex<Option<Change>>>,
    response: Arc<Mutex<Option<Change>>>,
}

impl Meddler {
    /// Changes each command from now on.
    pub fn on_command(&self, mut change: impl FnMut(&mut Vec<u8>) + Send + 'static) {
        *self.command.lock().expect("unpoisoned") =
            Some(Box::new(move |command, _| change(command)));
    }

    /// Changes each response from now on: it is given the command as it was sent.
    pub fn on_response(&self, mut change: impl FnMut(&[u8], &mut Vec<u8>) + Send + 'static) {
        *self.response.lock().expect("unpoisoned") =
            Some(Box::new(move |command, response| change(command, response)));
    }

    /// Leaves all as it is from now on.
    pub fn stop(&self) {
        *self.command.lock().expect("unpoisoned") = None;
        *self.response.lock().expect("unpoisoned") = None;
    }
}

/// A bus with an attacker on it.
pub struct Bus {
    inner: Box<dyn Tcti>,
    pub recording: Recording,
    pub meddler: Meddler,
    command: Vec<u8>,
}

impl Tcti for Bus {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.command = command.to_vec();
        if let Some(change) = &mut *self.meddler.command.lock().expect("unpoisoned") {
            change(&mut self.command, &mut Vec::new());
        }
        self.inner.transmit(&self.command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let length = self.inner.receive(response, timeout)?;
        let mut changed = response[..length].to_vec();
        if let Some(change) = &mut *self.meddler.response.lock().expect("unpoisoned") {
            change(&mut self.command, &mut changed);
        }
        let pair = (self.command.clone(), changed.clone());
        self.recording.0.lock().expect("unpoisoned").push(pair);
        response[..changed.len()].copy_from_slice(&changed);
        Ok(changed.len())
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }
}

/// A TPM, a bus and the layer.
pub struct Bench {
    pub tpm: Wrap<Bus>,
    pub recording: Recording,
    pub meddler: Meddler,
}

impl Bench {
    pub fn new(options: &str) -> Self {
        Self::over(rusttcti::open("libtpms").expect("libtpms opens"), options)
    }

    pub fn over(inner: Box<dyn Tcti>, options: &str) -> Self {
        let (recording, meddler) = (Recording::default(), Meddler::default());
        let bus = Bus {
            inner,
            recording: recording.clone(),
            meddler: meddler.clone(),
            command: Vec::new(),
        };
        let tpm = Wrap::new(bus, options).expect("the options are right");
        Self {
            tpm,
            recording,
            meddler,
        }
    }

    pub fn run(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        run(&mut self.tpm, command)
    }

    /// Runs a command that succeeds, and returns what is behind the header.
    pub fn ok(&mut self, command: &[u8]) -> Vec<u8> {
        let response = self.run(command).expect("a response");
        assert_eq!(
            response_code(&response),
            0,
            "{}: {:x}",
            command_code(command),
            response_code(&response)
        );
        response[10..].to_vec()
    }

    /// Runs a command, and returns the response code.
    pub fn rc(&mut self, command: &[u8]) -> u32 {
        response_code(&self.run(command).expect("a response"))
    }
}

pub fn run(tcti: &mut dyn Tcti, command: &[u8]) -> Result<Vec<u8>> {
    tcti.transmit(command)?;
    let mut response = vec![0; 4096];
    let length = tcti.receive(&mut response, Some(Duration::from_secs(20)))?;
    response.truncate(length);
    Ok(response)
}

pub fn command_code(command: &[u8]) -> CommandCode {
    CommandCode(word(&command[6..]))
}

pub fn response_code(response: &[u8]) -> u32 {
    word(&response[6..])
}

/// Returns a response that has this code and nothing else.
pub fn refusal(code: u32) -> Vec<u8> {
    ResponseBuilder::new(ResponseCode(code)).build()
}

pub fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// Returns a TPM2B.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Returns the content of the TPM2B at the beginning, and the bytes behind it.
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let size = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(size)
}

/// Returns an entry of an authorization area.
pub fn entry(handle: u32, nonce: &[u8], attributes: u8, hmac: &[u8]) -> Vec<u8> {
    [
        &handle.to_be_bytes()[..],
        &sized(nonce),
        &[attributes],
        &sized(hmac),
    ]
    .concat()
}

/// Returns a command with authorizations.
pub fn with_auths(
    code: CommandCode,
    handles: &[u32],
    auths: &[Vec<u8>],
    parameters: &[u8],
) -> Vec<u8> {
    let mut body: Vec<u8> = handles.iter().flat_map(|h| h.to_be_bytes()).collect();
    if !auths.is_empty() {
        let area = auths.concat();
        body.extend_from_slice(&(area.len() as u32).to_be_bytes());
        body.extend_from_slice(&area);
    }
    body.extend_from_slice(parameters);
    let tag = if auths.is_empty() {
        tag::NO_SESSIONS
    } else {
        tag::SESSIONS
    };
    [
        &tag.to_be_bytes()[..],
        &(10 + body.len() as u32).to_be_bytes(),
        &code.0.to_be_bytes(),
        &body,
    ]
    .concat()
}

pub fn plain(code: CommandCode, handles: &[u32], parameters: &[u8]) -> Vec<u8> {
    with_auths(code, handles, &[], parameters)
}

/// Returns a command with a password for each of the first handles.
pub fn with_passwords(
    code: CommandCode,
    handles: &[u32],
    passwords: &[&[u8]],
    parameters: &[u8],
) -> Vec<u8> {
    let auths: Vec<_> = passwords
        .iter()
        .map(|password| entry(PASSWORD, &[], 1, password))
        .collect();
    with_auths(code, handles, &auths, parameters)
}

pub fn get_random(count: u16) -> Vec<u8> {
    plain(CommandCode::GET_RANDOM, &[], &count.to_be_bytes())
}

/// A storage key's TPMT_PUBLIC: P-256, AES-128.
pub fn storage_template() -> Vec<u8> {
    let mut public = vec![0, 0x23, 0, 0x0b, 0, 0x03, 0x04, 0x72, 0, 0];
    public.extend_from_slice(&[0, 6, 0, 128, 0, 0x43, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0]);
    public
}

/// The TPM2B_SENSITIVE_CREATE of an authValue and data.
pub fn sensitive(auth: &[u8], data: &[u8]) -> Vec<u8> {
    sized(&[sized(auth), sized(data)].concat())
}

/// CreatePrimary of a storage key in a hierarchy.
pub fn create_primary(hierarchy: u32, hierarchy_auth: &[u8], auth: &[u8]) -> Vec<u8> {
    let parameters = [
        sensitive(auth, &[]),
        sized(&storage_template()),
        sized(&[]),
        vec![0; 4],
    ]
    .concat();
    with_passwords(
        CommandCode::CREATE_PRIMARY,
        &[hierarchy],
        &[hierarchy_auth],
        &parameters,
    )
}

/// Create of sealed data under a parent.
pub fn create_sealed(parent: u32, parent_auth: &[u8], auth: &[u8], data: &[u8]) -> Vec<u8> {
    // keyedHash, SHA-256, fixedTPM fixedParent userWithAuth noDA, no policy, no scheme.
    let public = [0, 8, 0, 0x0b, 0, 0, 0x04, 0x52, 0, 0, 0, 0x10, 0, 0];
    let parameters = [
        sensitive(auth, data),
        sized(&public),
        sized(&[]),
        vec![0; 4],
    ]
    .concat();
    with_passwords(CommandCode::CREATE, &[parent], &[parent_auth], &parameters)
}

/// Load of what Create answered with a password session.
pub fn load(parent: u32, parent_auth: &[u8], created: &[u8]) -> Vec<u8> {
    let (private, rest) = split(&created[4..]);
    let (public, _) = split(rest);
    let parameters = [sized(private), sized(public)].concat();
    with_passwords(CommandCode::LOAD, &[parent], &[parent_auth], &parameters)
}

pub fn unseal(object: u32, auth: &[u8]) -> Vec<u8> {
    with_passwords(CommandCode::UNSEAL, &[object], &[auth], &[])
}

pub fn flush(handle: u32) -> Vec<u8> {
    plain(CommandCode::FLUSH_CONTEXT, &[], &handle.to_be_bytes())
}

/// NV_DefineSpace of an ordinary index that its own authValue reads and writes.
pub fn define(index: u32, auth: &[u8], size: u16) -> Vec<u8> {
    // AUTHWRITE, AUTHREAD, NO_DA.
    define_with(index, auth, size, 0x0206_0004 & !0x0002_0000)
}

pub fn define_with(index: u32, auth: &[u8], size: u16, attributes: u32) -> Vec<u8> {
    let public = [
        &index.to_be_bytes()[..],
        &[0, 0x0b],
        &attributes.to_be_bytes(),
        &[0, 0],
        &size.to_be_bytes(),
    ]
    .concat();
    let parameters = [sized(auth), sized(&public)].concat();
    with_passwords(CommandCode::NV_DEFINE_SPACE, &[OWNER], &[&[]], &parameters)
}

pub fn nv_write(index: u32, auth: &[u8], data: &[u8]) -> Vec<u8> {
    let parameters = [sized(data), vec![0, 0]].concat();
    with_passwords(CommandCode::NV_WRITE, &[index, index], &[auth], &parameters)
}

pub fn nv_read(index: u32, auth: &[u8], size: u16) -> Vec<u8> {
    let parameters = [size.to_be_bytes(), [0, 0]].concat();
    with_passwords(CommandCode::NV_READ, &[index, index], &[auth], &parameters)
}

/// The secret that is sealed.
pub const SECRET: &[u8] = b"what only the program knows";

/// The parameters of a Create of sealed data.
pub fn sealed_parameters(auth: &[u8], data: &[u8], policy: &[u8], attributes: u32) -> Vec<u8> {
    let public = [
        &[0, 8, 0, 0x0b][..],
        &attributes.to_be_bytes(),
        &sized(policy),
        &[0, 0x10, 0, 0],
    ]
    .concat();
    [
        sensitive(auth, data),
        sized(&public),
        sized(&[]),
        vec![0; 4],
    ]
    .concat()
}

/// Seals under a primary without authValue, and loads; returns the handle.
pub fn seal(bench: &mut Bench, auth: &[u8], policy: &[u8], attributes: u32) -> u32 {
    let primary = word(&bench.ok(&create_primary(OWNER, &[], &[])));
    let parameters = sealed_parameters(auth, SECRET, policy, attributes);
    let created = bench.ok(&with_passwords(
        CommandCode::CREATE,
        &[primary],
        &[&[]],
        &parameters,
    ));
    let object = word(&bench.ok(&load(primary, &[], &created)));
    bench.ok(&flush(primary));
    object
}
