// SPDX-License-Identifier: BSD-2-Clause
//! The TPM commands of these tests.

use std::ops::Range;
use std::time::Duration;

use rusttcti::wire::{
    Blamed, CommandBuilder, CommandCode, Handle, Header, ResponseCode, SessionAttributes,
};
use rusttcti::{ErrorKind, Tcti};

pub const OWNER: u32 = 0x4000_0001;
pub const NULL: u32 = 0x4000_0007;
pub const PASSWORD: u32 = 0x4000_0009;
/// The TPM's code for a first handle of a type that the command doesn't take.
pub const WRONG_TYPE: ResponseCode = ResponseCode::VALUE.blaming(Blamed::Handle(1));

/// A response: its code, and what is behind the header.
pub type Answer = Result<Vec<u8>, u32>;

/// A user of a TPM.
pub struct User<T: Tcti = Box<dyn Tcti>>(pub T);

pub fn open(chain: &str) -> User {
    User(rusttcti::open(chain).unwrap_or_else(|error| panic!("{chain}: {}", error.report())))
}

/// Returns a command without sessions, with these parts behind its header.
pub fn command(code: CommandCode, parts: &[&[u8]]) -> Vec<u8> {
    CommandBuilder::new(code).bytes(&parts.concat()).build()
}

/// Returns a command with one handle, which a session or an empty password
/// authorizes.
pub fn authorized(
    code: CommandCode,
    handle: u32,
    session: u32,
    attributes: SessionAttributes,
    parameters: &[u8],
) -> Vec<u8> {
    CommandBuilder::new(code)
        .handle(Handle(handle))
        .auth(Handle(session), &[], attributes, &[])
        .expect("nothing long")
        .bytes(parameters)
        .build()
}

/// Returns the parameters of CreatePrimary for a template: no password and no data.
pub fn primary_of(template: &[u8]) -> Vec<u8> {
    [
        &[0, 4, 0, 0, 0, 0][..],
        &(template.len() as u16).to_be_bytes(),
        template,
        &[0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

/// Returns TPM2_HMAC by a key, with an empty password.
pub fn hmac(key: u32, text: &[u8]) -> Vec<u8> {
    let parameters = [&(text.len() as u16).to_be_bytes()[..], text, &[0, 0x0b]].concat();
    let none = SessionAttributes::NONE;
    authorized(CommandCode::HMAC, key, PASSWORD, none, &parameters)
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

    fn plain(&mut self, code: CommandCode, parts: &[&[u8]]) -> Answer {
        self.run(&command(code, parts))
    }

    fn authorized(
        &mut self,
        code: CommandCode,
        handle: u32,
        session: u32,
        parameters: &[u8],
    ) -> Answer {
        let attributes = match session {
            PASSWORD => SessionAttributes::NONE,
            _ => SessionAttributes::CONTINUE_SESSION,
        };
        self.run(&authorized(code, handle, session, attributes, parameters))
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
        let parameters = primary_of(&template);
        self.authorized(
            CommandCode::CREATE_PRIMARY,
            hierarchy,
            PASSWORD,
            &parameters,
        )
        .map(|body| first_word(&body))
    }

    /// Makes a key for each of some numbers.
    pub fn make_keys(&mut self, hierarchy: u32, numbers: Range<u8>) -> Vec<u32> {
        numbers
            .map(|n| self.create_primary(hierarchy, n).expect("a key"))
            .collect()
    }

    /// Returns the HMAC of one text by each key. They differ if the keys do.
    pub fn marks(&mut self, keys: &[u32]) -> Vec<Vec<u8>> {
        keys.iter()
            .map(|key| self.hmac(*key, b"x").expect("it works"))
            .collect()
    }

    /// Runs TPM2_HMAC of a text by a key, which shows which key it is.
    pub fn hmac(&mut self, key: u32, text: &[u8]) -> Answer {
        self.hmac_by(PASSWORD, key, text)
    }

    /// Runs TPM2_HMAC, authorized by a session.
    pub fn hmac_by(&mut self, session: u32, key: u32, text: &[u8]) -> Answer {
        let parameters = [&(text.len() as u16).to_be_bytes()[..], text, &[0, 0x0b]].concat();
        let body = self.authorized(CommandCode::HMAC, key, session, &parameters)?;
        // Behind parameterSize and the digest's size.
        Ok(body[6..38].to_vec())
    }

    pub fn read_public(&mut self, handle: u32) -> Answer {
        self.plain(CommandCode::READ_PUBLIC, &[&handle.to_be_bytes()])
    }

    pub fn flush(&mut self, handle: u32) -> Answer {
        self.plain(CommandCode::FLUSH_CONTEXT, &[&handle.to_be_bytes()])
    }

    pub fn save(&mut self, handle: u32) -> Answer {
        self.plain(CommandCode::CONTEXT_SAVE, &[&handle.to_be_bytes()])
    }

    pub fn load(&mut self, context: &[u8]) -> Result<u32, u32> {
        self.plain(CommandCode::CONTEXT_LOAD, &[context])
            .map(|body| first_word(&body))
    }

    /// Starts an unsalted, unbound session: 0 an HMAC session, 1 a policy session.
    pub fn start_session(&mut self, kind: u8) -> Result<u32, u32> {
        let null = NULL.to_be_bytes();
        let nonce = [&[0, 16][..], &[0x5a; 16]].concat();
        let rest = [0, 0, kind, 0, 0x10, 0, 0x0b];
        self.plain(
            CommandCode::START_AUTH_SESSION,
            &[&null, &null, &nonce, &rest],
        )
        .map(|body| first_word(&body))
    }

    /// Runs PolicyCpHash with a digest of equal bytes, which marks a policy
    /// session.
    pub fn mark(&mut self, session: u32, byte: u8) -> Answer {
        self.plain(
            CommandCode::POLICY_CP_HASH,
            &[&session.to_be_bytes(), &[0, 32], &[byte; 32]],
        )
    }

    pub fn policy_digest(&mut self, session: u32) -> Answer {
        self.plain(CommandCode::POLICY_GET_DIGEST, &[&session.to_be_bytes()])
    }

    pub fn hash_start(&mut self) -> Result<u32, u32> {
        self.plain(CommandCode::HASH_SEQUENCE_START, &[&[0, 0, 0, 0x0b]])
            .map(|body| first_word(&body))
    }

    pub fn update(&mut self, sequence: u32, data: &[u8]) -> Answer {
        let parameters = [&(data.len() as u16).to_be_bytes()[..], data].concat();
        self.authorized(
            CommandCode::SEQUENCE_UPDATE,
            sequence,
            PASSWORD,
            &parameters,
        )
    }

    pub fn complete(&mut self, sequence: u32) -> Answer {
        let parameters = [&[0, 0][..], &NULL.to_be_bytes()].concat();
        let body = self.authorized(
            CommandCode::SEQUENCE_COMPLETE,
            sequence,
            PASSWORD,
            &parameters,
        )?;
        Ok(body[6..38].to_vec())
    }

    pub fn clear(&mut self) -> Answer {
        const LOCKOUT: u32 = 0x4000_000a;
        self.authorized(CommandCode::CLEAR, LOCKOUT, PASSWORD, &[])
    }

    pub fn hierarchy_control(&mut self, hierarchy: u32, on: bool) -> Answer {
        const PLATFORM: u32 = 0x4000_000c;
        let parameters = [&hierarchy.to_be_bytes()[..], &[u8::from(on)]].concat();
        self.authorized(
            CommandCode::HIERARCHY_CONTROL,
            PLATFORM,
            PASSWORD,
            &parameters,
        )
    }

    pub fn startup(&mut self) -> Answer {
        self.plain(CommandCode::STARTUP, &[&[0, 0]])
    }

    /// Returns the handles from `first` on, and whether there are more.
    pub fn handles(&mut self, first: u32, count: u32) -> (Vec<u32>, bool) {
        let words = [1, first, count].map(u32::to_be_bytes).concat();
        let body = self
            .plain(CommandCode::GET_CAPABILITY, &[&words])
            .expect("handles");
        let handles = body[9..].chunks(4).map(first_word).collect();
        (handles, body[0] != 0)
    }

    pub fn property(&mut self, property: u32) -> u32 {
        let words = [6, property, 1].map(u32::to_be_bytes).concat();
        let body = self
            .plain(CommandCode::GET_CAPABILITY, &[&words])
            .expect("a property");
        assert_eq!(first_word(&body[9..]), property);
        first_word(&body[13..])
    }

    pub fn get_random(&mut self) -> Answer {
        self.plain(CommandCode::GET_RANDOM, &[&[0, 16]])
    }
}
