// SPDX-License-Identifier: BSD-2-Clause
//! Runs the engine with any commands and any responses, for the fuzzer and for
//! property tests.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command;
use super::crypto::{Hash, Secret};
use super::engine::{Engine, LONGEST};
use super::exchange::{Exchange, Step};
use super::key::{KeySource, name_of, null_template};
use super::options::Settings;
use super::session::{PASSWORD, Session};
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Header, ResponseCode, tag};

/// The most commands of the layer's own for one of the program's.
const MOST_STEPS: usize = 200;

fn engine(strict: bool) -> Box<Engine> {
    let mut engine = Box::new(Engine::new(Settings {
        source: KeySource::Null,
        name: None,
        system_name: None,
        strict,
        skip: vec![CommandCode::HMAC_START],
        has_view_below: false,
    }));
    // Sessions that exist already, so that more runs than the first contact.
    for handle in [0x0200_0000, 0x0200_0001] {
        let nonce = [7; 32];
        let session = Session::new(handle, Hash::Sha256, 128, b"salt", &nonce, &nonce);
        engine.own_sessions.push(session);
    }
    engine
}

/// Runs one command; `answer` is given each command that would be sent, and
/// returns its response.
fn serve(
    engine: Box<Engine>,
    command: &[u8],
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) -> Box<Engine> {
    let mut engine = engine;
    let bytes = Secret::new(command.to_vec());
    let mut exchange = Exchange::new(|channel| async move {
        let served = engine.serve(bytes, &channel).await;
        (engine, served)
    });
    let mut step = exchange.advance();
    for _ in 0..MOST_STEPS {
        match step {
            Step::Done((engine, served)) => {
                if let Ok(response) = served {
                    assert!(Header::fits(&response), "{response:02x?}");
                }
                return engine;
            }
            Step::Send(sent) => {
                let length = sent.bytes.len();
                assert!(length <= LONGEST.max(command.len()), "{length} bytes");
                step = exchange.feed(Ok(Secret::new(answer(&sent.bytes))));
            }
        }
    }
    panic!("more than {MOST_STEPS} commands for one");
}

/// Takes bytes from the input; zeros after its end.
fn take<const N: usize>(input: &mut Cursor<'_>) -> [u8; N] {
    input
        .take(N)
        .map_or([0; N], |bytes| bytes.try_into().expect("as many"))
}

/// Makes a command of any code, with authorizations of any kind.
fn command(input: &mut Cursor<'_>) -> Vec<u8> {
    let [kind, code, handles, auths, size] = take(input);
    let mut body = Vec::new();
    for _ in 0..handles % 4 {
        let [kind, low] = take(input);
        let high = [0x00, 0x01, 0x02, 0x03, 0x40, 0x80, 0x81, kind][usize::from(kind % 8)];
        body.put_u32(u32::from(high) << 24 | u32::from(low % 16));
    }
    let mut area = Vec::new();
    for _ in 0..auths % 4 {
        let [kind, attributes] = take(input);
        area.put_u32(match kind % 4 {
            0 => PASSWORD,
            1 => 0x0200_0002,
            2 => 0x0300_0003,
            _ => 0x0200_0000 | u32::from(kind),
        });
        area.put_sized(&[3; 32][..usize::from(kind) % 33]);
        area.push(attributes);
        area.put_sized(&[5; 32][..usize::from(kind / 4) % 33]);
    }
    if kind & 1 != 0 {
        body.put_u32(area.len() as u32);
        body.extend_from_slice(&area);
    }
    let size = usize::from(size) * usize::from(kind);
    let parameters = input.take(size.min(input.rest().len())).unwrap_or_default();
    body.extend_from_slice(parameters);
    let first = CommandCode::NV_UNDEFINE_SPACE_SPECIAL.0;
    let mut bytes = command::plain(CommandCode(first + u32::from(code)), &body).to_vec();
    if kind & 1 != 0 {
        bytes[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
    }
    bytes
}

/// Makes a response to a command: any bytes, or one that gets the engine further.
fn response(sent: &[u8], input: &mut Cursor<'_>) -> Vec<u8> {
    let [kind, size, at, bit] = take(input);
    let any = input
        .take(usize::from(size).min(input.rest().len()))
        .unwrap_or_default();
    let code = Header::parse(sent).map_or(0, |header| header.code);
    let mut answer = match kind % 8 {
        0 => any.to_vec(),
        1 => command::success(any).to_vec(),
        2 => {
            let mut tagged = command::success(any).to_vec();
            tagged[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
            tagged
        }
        3 => command::refusal(ResponseCode(0x900 | u32::from(at))).to_vec(),
        4 => command::refusal(ResponseCode(0x080 | u32::from(at) << 4 | u32::from(bit))).to_vec(),
        _ => canned(CommandCode(code)),
    };
    if kind & 0x80 != 0 {
        let length = answer.len().max(1);
        if let Some(byte) = answer.get_mut(usize::from(at) % length) {
            *byte ^= 1 << (bit % 8);
        }
    }
    answer
}

/// Makes a response that lets the layer's own commands go on.
fn canned(code: CommandCode) -> Vec<u8> {
    let mut body = Vec::new();
    match code {
        CommandCode::CREATE_PRIMARY => {
            let mut public = null_template();
            public.truncate(public.len() - 4);
            for coordinate in POINT {
                public.put_sized(&coordinate);
            }
            let mut parameters = Vec::new();
            parameters.put_sized(&public);
            parameters.put_sized(&[]);
            parameters.put_sized(&[]);
            parameters.extend_from_slice(&[0x80, 0x21, 0x40, 0, 0, 7, 0, 0]);
            parameters.put_sized(&name_of(Hash::Sha256, &public));
            body.put_u32(0x8000_0000);
            body.put_u32(parameters.len() as u32);
            body.extend_from_slice(&parameters);
            body.extend_from_slice(&[0, 0, 1, 0, 0]);
            let mut response = command::success(&body).to_vec();
            response[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
            return response;
        }
        CommandCode::START_AUTH_SESSION => {
            body.put_u32(0x0200_0004);
            body.put_sized(&[9; 32]);
        }
        CommandCode::CONTEXT_LOAD => body.put_u32(0x8000_0000),
        CommandCode::CONTEXT_SAVE => body.extend_from_slice(&[1; 40]),
        CommandCode::GET_CAPABILITY => {
            body.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 2]);
            body.put_u32(0x0200_0002);
            body.put_u32(0x8000_0001);
        }
        _ => {}
    }
    command::success(&body).to_vec()
}

/// A point of P-256: the generator.
const POINT: [[u8; 32]; 2] = [
    [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
        0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98,
        0xc2, 0x96,
    ],
    [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
        0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf,
        0x51, 0xf5,
    ],
];

/// Runs commands and responses that the input chooses.
///
/// # Panics
/// If the engine breaks a promise.
pub fn run(input: &[u8]) {
    let mut input = Cursor::new(input, 0);
    let [strict] = take(&mut input);
    let mut engine = engine(strict & 1 != 0);
    for _ in 0..8 {
        if input.is_at_end() {
            break;
        }
        let command = match take(&mut input) {
            [raw @ 0..=9] => {
                let size = usize::from(raw).min(input.rest().len());
                input.take(size).unwrap_or_default().to_vec()
            }
            _ => command(&mut input),
        };
        engine = serve(engine, &command, |sent| response(sent, &mut input));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_commands_with_any_responses_end_in_a_response_or_an_error(
            input in prop::collection::vec(any::<u8>(), 0..600)
        ) {
            super::run(&input);
        }
    }
}
