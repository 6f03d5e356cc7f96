// SPDX-License-Identifier: BSD-2-Clause
//! A program with its own sessions, which checks every response.

use std::cell::RefCell;

use rusttcti::wire::{Command, CommandCode};
use rusttcti_kit::sha256::sha256;

use crate::reference::{cipher, hmac, kdfa};
use crate::tpm::*;

pub const DECRYPT: u8 = 0x20;
pub const ENCRYPT: u8 = 0x40;
pub const AUDIT: u8 = 0x80;

/// A session of the program's.
#[derive(Clone, Debug)]
pub struct SessionState {
    pub handle: u32,
    pub key: Vec<u8>,
    pub nonce_tpm: Vec<u8>,
    count: u8,
}

/// How a session is used in a command.
#[derive(Clone)]
pub struct Use<'a> {
    pub session: &'a Session,
    /// The authValue of what it authorizes; empty for none.
    pub auth: &'a [u8],
    pub attributes: u8,
}

/// A session that several uses may refer to.
pub type Session = RefCell<SessionState>;

pub fn start(bench: &mut Bench, kind: u8) -> Session {
    start_bound(bench, kind, NULL, &[])
}

/// Starts a session that is bound to something with this authValue.
pub fn start_bound(bench: &mut Bench, kind: u8, bind: u32, auth: &[u8]) -> Session {
    let nonce = [0x22; 32];
    let mut parameters = sized(&nonce);
    parameters.extend_from_slice(&sized(&[]));
    parameters.push(kind);
    parameters.extend_from_slice(&[0, 6, 0, 128, 0, 0x43, 0, 0x0b]);
    let response = bench.ok(&plain(
        CommandCode::START_AUTH_SESSION,
        &[NULL, bind],
        &parameters,
    ));
    let handle = word(&response);
    let (nonce_tpm, _) = split(&response[4..]);
    let key = match bind {
        NULL => Vec::new(),
        _ => kdfa(auth, "ATH", nonce_tpm, &nonce, 256),
    };
    Session::new(SessionState {
        handle,
        key,
        nonce_tpm: nonce_tpm.to_vec(),
        count: 0,
    })
}

/// Runs a command with sessions as ESYS does: encrypts, authorizes, checks and
/// decrypts. Returns the parameters of the response, or its code.
pub fn run_with(
    bench: &mut Bench,
    code: CommandCode,
    handles: &[u32],
    names: &[&[u8]],
    authorizations: usize,
    uses: &[Use<'_>],
    parameters: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), u32> {
    let mut parameters = parameters.to_vec();
    let mut nonces = Vec::new();
    for used in uses {
        let mut session = used.session.borrow_mut();
        session.count += 1;
        nonces.push([session.count ^ 0xa5; 32]);
    }
    let value = |used: &Use<'_>| [&used.session.borrow().key[..], used.auth].concat();
    for (used, nonce) in uses.iter().zip(&nonces) {
        if used.attributes & DECRYPT != 0 {
            let older = used.session.borrow().nonce_tpm.clone();
            let (data, _) = split(&parameters);
            let size = data.len();
            let data = cipher(&value(used), nonce, &older, data, true);
            parameters[2..2 + size].copy_from_slice(&data);
        }
    }
    let cp_hash = sha256(&[&code.0.to_be_bytes()[..], &names.concat(), &parameters].concat());
    let mut others = Vec::new();
    let with = |flag: u8| uses.iter().position(|used| used.attributes & flag != 0);
    if authorizations > 0 {
        let (decrypt, encrypt) = (with(DECRYPT), with(ENCRYPT));
        for at in [decrypt, encrypt.filter(|_| encrypt != decrypt)]
            .into_iter()
            .flatten()
        {
            if at != 0 {
                others.extend_from_slice(&uses[at].session.borrow().nonce_tpm);
            }
        }
    }
    let auths: Vec<Vec<u8>> = uses
        .iter()
        .zip(&nonces)
        .enumerate()
        .map(|(at, (used, nonce))| {
            let session = used.session.borrow();
            let others = if at == 0 { &others[..] } else { &[] };
            let hmac = hmac(
                &value(used),
                &[
                    &cp_hash,
                    nonce,
                    &session.nonce_tpm,
                    others,
                    &[used.attributes],
                ],
            );
            entry(session.handle, nonce, used.attributes, &hmac)
        })
        .collect();
    let response = bench
        .run(&with_auths(code, handles, &auths, &parameters))
        .expect("a response");
    match response_code(&response) {
        0 => {}
        code => return Err(code),
    }
    assert_eq!(response[..2], [0x80, 0x02]);
    let has_handle = Command::of(code).is_some_and(|command| command.response_handle.is_some());
    let from = if has_handle { 14 } else { 10 };
    let size = word(&response[from..]) as usize;
    let mut answered = response[from + 4..from + 4 + size].to_vec();
    let rp_hash = sha256(&[&[0; 4], &code.0.to_be_bytes()[..], &answered].concat());
    let mut area = &response[from + 4 + size..];
    for (used, nonce) in uses.iter().zip(&nonces) {
        let (nonce_tpm, rest) = split(area);
        let (attributes, rest) = (rest[0], &rest[1..]);
        let (mac, rest) = split(rest);
        area = rest;
        let asked = used.attributes & (DECRYPT | ENCRYPT | AUDIT | 1);
        assert_eq!(attributes & 0xe1, asked, "attributes");
        // A new authValue answers a change of it.
        let auth = match code {
            CommandCode::HIERARCHY_CHANGE_AUTH => split(&parameters).0,
            _ => used.auth,
        };
        let key = [&used.session.borrow().key[..], auth].concat();
        assert_eq!(
            mac,
            hmac(&key, &[&rp_hash, nonce_tpm, nonce, &[attributes]]),
            "HMAC"
        );
        if attributes & ENCRYPT != 0 {
            let (data, _) = split(&answered);
            let size = data.len();
            let data = cipher(&value(used), nonce_tpm, nonce, data, false);
            answered[2..2 + size].copy_from_slice(&data);
        }
        used.session.borrow_mut().nonce_tpm = nonce_tpm.to_vec();
    }
    assert!(area.is_empty());
    Ok((response[10..from].to_vec(), answered))
}

/// The Name of an object, by ReadPublic.
pub fn name(bench: &mut Bench, handle: u32) -> Vec<u8> {
    let response = bench.ok(&plain(CommandCode::READ_PUBLIC, &[handle], &[]));
    let (_, rest) = split(&response);
    split(rest).0.to_vec()
}

/// Signs a command with one session, and does not send it.
pub fn signed(
    used: &Use<'_>,
    code: CommandCode,
    handle: u32,
    name: &[u8],
    parameters: &[u8],
) -> Vec<u8> {
    let session = used.session.borrow();
    let nonce = [0x44; 32];
    let cp_hash = sha256(&[&code.0.to_be_bytes()[..], name, parameters].concat());
    let key = [&session.key[..], used.auth].concat();
    let hmac = hmac(
        &key,
        &[&cp_hash, &nonce, &session.nonce_tpm, &[used.attributes]],
    );
    let auth = entry(session.handle, &nonce, used.attributes, &hmac);
    with_auths(code, &[handle], &[auth], parameters)
}
