// SPDX-License-Identifier: BSD-2-Clause
//! A TPM's user: the commands that these tests send.

use std::ops::Range;
use std::time::Duration;

use rusttcti::header::Header;
use rusttcti::{ErrorKind, Tcti};

pub const OWNER: u32 = 0x4000_0001;
pub const NULL: u32 = 0x4000_0007;
pub const PASSWORD: u32 = 0x4000_0009;

/// A response: its code, and what is behind the header.
pub type Answer = Result<Vec<u8>, u32>;

/// A user of a TPM.
pub struct User<T: Tcti = Box<dyn Tcti>>(pub T);

pub fn open(chain: &str) -> User {
    User(rusttcti::open(chain).unwrap_or_else(|error| panic!("{chain}: {}", error.report())))
}

/// A command with its header.
pub fn command(tag: u16, code: u32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let header = Header {
        tag,
        size: (Header::SIZE + body.len()) as u32,
        code,
    };
    [&header.to_bytes()[..], &body].concat()
}

/// An authorization by a session, or by an empty password.
fn authorization(session: u32, attributes: u8) -> Vec<u8> {
    let mut area = vec![0, 0, 0, 9];
    area.extend_from_slice(&session.to_be_bytes());
    area.extend_from_slice(&[0, 0, attributes, 0, 0]);
    area
}

/// HMAC by a key, with an empty password.
pub fn hmac(key: u32, text: &[u8]) -> Vec<u8> {
    let parameters = [&(text.len() as u16).to_be_bytes()[..], text, &[0, 0x0b]].concat();
    let area = authorization(PASSWORD, 0);
    command(0x8002, 0x155, &[&key.to_be_bytes(), &area, &parameters])
}

pub fn first_word(body: &[u8]) -> u32 {
    u32::from_be_bytes(*body.first_chunk().expect("a handle"))
}

impl<T: Tcti> User<T> {
    /// Sends a command and waits for its response; sends it again where the TPM
    /// asks for that (it tests an algorithm before the first use).
    pub fn run(&mut self, command: &[u8]) -> Answer {
        const RETRY: u32 = 0x922;
        loop {
            match self.try_run(command).expect("a response") {
                Err(RETRY) => {}
                answer => return answer,
            }
        }
    }

    pub fn try_run(&mut self, command: &[u8]) -> rusttcti::Result<Answer> {
        self.0.transmit(command)?;
        let mut response = [0; 4096];
        let length = loop {
            match self.0.receive(&mut response, Some(Duration::from_secs(30))) {
                Err(error) if error.kind() == ErrorKind::TryAgain => {}
                received => break received?,
            }
        };
        let header = Header::parse(&response[..length]).expect("a header");
        assert_eq!(header.size as usize, length);
        Ok(match header.code {
            0 => Ok(response[Header::SIZE..length].to_vec()),
            code => Err(code),
        })
    }

    fn plain(&mut self, code: u32, parts: &[&[u8]]) -> Answer {
        self.run(&command(0x8001, code, parts))
    }

    fn authorized(
        &mut self,
        code: u32,
        handles: &[u32],
        session: u32,
        parameters: &[u8],
    ) -> Answer {
        let handles: Vec<u8> = handles.iter().flat_map(|h| h.to_be_bytes()).collect();
        let attributes = u8::from(session != PASSWORD);
        let area = authorization(session, attributes);
        self.run(&command(0x8002, code, &[&handles, &area, parameters]))
    }

    /// Makes a symmetric key in a hierarchy, which `unique` makes another one.
    pub fn create_primary(&mut self, hierarchy: u32, unique: u8) -> Result<u32, u32> {
        // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign; HMAC-SHA256
        let template = [
            &[0, 8, 0, 0x0b][..],
            &0x0004_0072u32.to_be_bytes(),
            &[0, 0, 0, 5, 0, 0x0b, 0, 1, unique],
        ]
        .concat();
        let parameters = [
            &[0, 4, 0, 0, 0, 0][..],
            &(template.len() as u16).to_be_bytes(),
            &template,
            &[0, 0, 0, 0, 0, 0],
        ]
        .concat();
        self.authorized(0x131, &[hierarchy], PASSWORD, &parameters)
            .map(|body| first_word(&body))
    }

    /// Makes a key for each of some numbers.
    pub fn make_keys(&mut self, hierarchy: u32, numbers: Range<u8>) -> Vec<u32> {
        numbers
            .map(|n| self.create_primary(hierarchy, n).expect("a key"))
            .collect()
    }

    /// HMACs of one text by each key, which tell the keys from one another.
    pub fn marks(&mut self, keys: &[u32]) -> Vec<Vec<u8>> {
        keys.iter()
            .map(|key| self.hmac(*key, b"x").expect("it works"))
            .collect()
    }

    /// HMAC of a text by a key: tells one key from another.
    pub fn hmac(&mut self, key: u32, text: &[u8]) -> Answer {
        self.hmac_by(PASSWORD, key, text)
    }

    /// HMAC, authorized by a session.
    pub fn hmac_by(&mut self, session: u32, key: u32, text: &[u8]) -> Answer {
        let parameters = [&(text.len() as u16).to_be_bytes()[..], text, &[0, 0x0b]].concat();
        let body = self.authorized(0x155, &[key], session, &parameters)?;
        // Behind parameterSize and the digest's size.
        Ok(body[6..38].to_vec())
    }

    pub fn read_public(&mut self, handle: u32) -> Answer {
        self.plain(0x173, &[&handle.to_be_bytes()])
    }

    pub fn flush(&mut self, handle: u32) -> Answer {
        self.plain(0x165, &[&handle.to_be_bytes()])
    }

    pub fn save(&mut self, handle: u32) -> Answer {
        self.plain(0x162, &[&handle.to_be_bytes()])
    }

    pub fn load(&mut self, context: &[u8]) -> Result<u32, u32> {
        self.plain(0x161, &[context]).map(|body| first_word(&body))
    }

    /// Starts an unsalted, unbound session: 0 an HMAC session, 1 a policy session.
    pub fn start_session(&mut self, kind: u8) -> Result<u32, u32> {
        let null = NULL.to_be_bytes();
        let nonce = [&[0, 16][..], &[0x5a; 16]].concat();
        let rest = [0, 0, kind, 0, 0x10, 0, 0x0b];
        self.plain(0x176, &[&null, &null, &nonce, &rest])
            .map(|body| first_word(&body))
    }

    /// PolicyCpHash with a digest of such bytes: marks a policy session.
    pub fn mark(&mut self, session: u32, byte: u8) -> Answer {
        self.plain(0x16e, &[&session.to_be_bytes(), &[0, 32], &[byte; 32]])
    }

    pub fn policy_digest(&mut self, session: u32) -> Answer {
        self.plain(0x189, &[&session.to_be_bytes()])
    }

    pub fn hash_start(&mut self) -> Result<u32, u32> {
        self.plain(0x186, &[&[0, 0, 0, 0x0b]])
            .map(|body| first_word(&body))
    }

    pub fn update(&mut self, sequence: u32, data: &[u8]) -> Answer {
        let parameters = [&(data.len() as u16).to_be_bytes()[..], data].concat();
        self.authorized(0x15c, &[sequence], PASSWORD, &parameters)
    }

    pub fn complete(&mut self, sequence: u32) -> Answer {
        let parameters = [&[0, 0][..], &NULL.to_be_bytes()].concat();
        let body = self.authorized(0x13e, &[sequence], PASSWORD, &parameters)?;
        Ok(body[6..38].to_vec())
    }

    pub fn clear(&mut self) -> Answer {
        const LOCKOUT: u32 = 0x4000_000a;
        self.authorized(0x126, &[LOCKOUT], PASSWORD, &[])
    }

    pub fn hierarchy_control(&mut self, hierarchy: u32, on: bool) -> Answer {
        const PLATFORM: u32 = 0x4000_000c;
        let parameters = [&hierarchy.to_be_bytes()[..], &[u8::from(on)]].concat();
        self.authorized(0x121, &[PLATFORM], PASSWORD, &parameters)
    }

    pub fn startup(&mut self) -> Answer {
        self.plain(0x144, &[&[0, 0]])
    }

    /// The handles from `first` on, and whether there are more.
    pub fn handles(&mut self, first: u32, count: u32) -> (Vec<u32>, bool) {
        let words = [1, first, count].map(u32::to_be_bytes).concat();
        let body = self.plain(0x17a, &[&words]).expect("handles");
        let handles = body[9..].chunks(4).map(first_word).collect();
        (handles, body[0] != 0)
    }

    pub fn property(&mut self, property: u32) -> u32 {
        let words = [6, property, 1].map(u32::to_be_bytes).concat();
        let body = self.plain(0x17a, &[&words]).expect("a property");
        assert_eq!(first_word(&body[9..]), property);
        first_word(&body[13..])
    }

    pub fn get_random(&mut self) -> Answer {
        self.plain(0x17b, &[&[0, 16]])
    }
}
