// SPDX-License-Identifier: BSD-2-Clause
//! How a command is protected: which authorizations stay, which become sessions
//! of the layer's own, and what is encrypted.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{Auth, Command, TPM_ST_SESSIONS, cc, cp_hash};
use super::crypto::{Direction, Hash, ParameterCipher, Secret, equal};
use super::engine::{Engine, Flow, Stop, rc};
use super::session::{HmacInput, PASSWORD, attribute};
use super::theirs::{Kind, Their};
use crate::wire::header::Header;

/// A command as the TPM gets it, before it is encrypted.
pub(super) struct Rewritten {
    pub(super) code: u32,
    pub(super) parameters: Secret,
    pub(super) decrypt: bool,
}

impl Rewritten {
    /// Returns a response code that blames a parameter with the number that the
    /// parameter has in the program's command.
    pub(super) fn numbered_back(&self, code: u32) -> u32 {
        // Format one, bit 6: a parameter.
        if self.code != cc::ENCRYPT_DECRYPT_2 || code & !0xfff != 0 || code & 0xc0 != 0xc0 {
            return code;
        }
        let number = match code >> 8 & 0xf {
            // inData is the last of EncryptDecrypt's parameters.
            1 => 4,
            number @ 2..=4 => number - 1,
            number => number,
        };
        code & !0xf00 | number << 8
    }
}

impl Engine {
    /// Writes a command as the TPM is to get it: EncryptDecrypt as
    /// EncryptDecrypt2, PolicyPassword as PolicyAuthValue, and GetCapability with
    /// room for the sessions that will be hidden.
    pub(super) fn rewritten(&mut self, command: &mut Command) -> Flow<Rewritten> {
        let mut rewritten = Rewritten {
            code: command.code,
            parameters: command.parameters.clone(),
            decrypt: command.shape.decrypt,
        };
        match command.code {
            cc::ENCRYPT_DECRYPT => {
                // decrypt, mode and iv, then inData.
                let parameters = &command.parameters;
                let mut reader = super::bytes::Reader(parameters);
                let head = reader.bytes(3).and_then(|_| reader.sized()).is_some();
                let split = parameters.len() - reader.0.len();
                if head && reader.sized().is_some() && reader.is_empty() {
                    let (head, data) = parameters.split_at(split);
                    let mut moved = Secret::new(Vec::with_capacity(parameters.len()));
                    moved.extend_from_slice(data);
                    moved.extend_from_slice(head);
                    rewritten = Rewritten {
                        code: cc::ENCRYPT_DECRYPT_2,
                        parameters: moved,
                        decrypt: true,
                    };
                }
            }
            cc::POLICY_PASSWORD => {
                let their = command.handles.first().and_then(|h| self.theirs.get(*h));
                if their.is_some_and(|their| their.keyless && their.hash.is_some()) {
                    rewritten.code = cc::POLICY_AUTH_VALUE;
                } else {
                    self.tell("its policy session, whose password passes, is not the layer's to answer for")?;
                }
            }
            cc::GET_CAPABILITY => {
                if let Some((property, count)) = super::answer::asks_for_sessions(command) {
                    let mut parameters = Secret::new(Vec::with_capacity(12));
                    for word in [1, property, count.saturating_add(super::answer::HIDDEN)] {
                        parameters.put_u32(word);
                    }
                    rewritten.parameters = parameters;
                }
            }
            _ => {}
        }
        Ok(rewritten)
    }
}

/// What becomes of an authorization of the program's.
pub(super) enum Slot {
    /// A session of the layer's own: the password that it stands for, or none
    /// where it was added.
    Ours {
        /// Which of the layer's sessions.
        index: usize,
        password: Option<Secret>,
    },
    /// A session of the program's with an empty session key, which the layer can
    /// answer for.
    Keyless(Keyless),
    /// A session of the program's with an empty session key that only encrypts,
    /// which the layer's does in its place: the TPM does not get it.
    LeftOut(Keyless),
    /// A session of the program's that only the program can answer for.
    Rigid,
}

impl Slot {
    /// True where the TPM gets a session for it.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self, Self::LeftOut(_))
    }
}

/// How the layer answers for a session with an empty session key.
pub(super) struct Keyless {
    /// The authValue that the session shows knowledge of, mostly empty.
    pub(super) value: Secret,
    /// Whether the TPM gets an HMAC, or an empty one.
    pub(super) hmac_to_tpm: bool,
    /// Whether the program gets an HMAC, or an empty one.
    pub(super) hmac_to_program: bool,
    pub(super) hash: Option<Hash>,
    pub(super) key_bits: Option<u16>,
    /// The nonce that the TPM has.
    pub(super) nonce_tpm: Vec<u8>,
    /// The nonce that the program has.
    pub(super) shown: Vec<u8>,
}

/// How a command is protected.
pub(super) struct Plan {
    pub(super) slots: Vec<Slot>,
    /// The slot of the session that encrypts, audits, or authorizes with what
    /// these attributes say.
    pub(super) lead: usize,
    pub(super) attributes: u8,
    names: Vec<Vec<u8>>,
    length: usize,
}

/// What is sent, and what the response is checked with.
pub(super) struct Sent {
    pub(super) bytes: Secret,
    /// The first parameter, as it is without any encryption; the program's own
    /// where only the program can decrypt it.
    pub(super) parameters: Secret,
}

impl Plan {
    /// Makes the plan for a command; `None` where it passes as it is.
    pub(super) fn of(
        engine: &mut Engine,
        command: &Command,
        rewritten: &Rewritten,
    ) -> Flow<Option<Self>> {
        let names: Vec<_> = command
            .handles
            .iter()
            .map(|handle| engine.names.get(*handle).unwrap_or_default())
            .collect();
        let mut slots = Vec::new();
        let mut passwords = 0;
        for (at, auth) in command.auths.iter().enumerate() {
            let slot = slot(engine, command, &names, at, auth)?;
            if let Slot::Ours { .. } = slot {
                passwords += 1;
            }
            let out_of_step = engine
                .theirs
                .get(auth.handle)
                .is_some_and(|their| their.shown.is_some());
            if matches!(slot, Slot::Rigid) && out_of_step {
                return Err(super::engine::unsupported(
                    "a session of the program's that encrypted without a key cannot authorize \
                     with an authValue after that (use another session)",
                )
                .into());
            }
            slots.push(slot);
        }
        number_ours(&mut slots);
        if needs_unknown_nonce(engine, command, &slots) {
            return Err(super::engine::unsupported(
                "a session that was not started through the layer encrypts beside a password \
                 (start it through the layer, or use no password)",
            )
            .into());
        }

        let rigid = slots.iter().any(|slot| matches!(slot, Slot::Rigid));
        let all = command.auths.iter().map(|auth| auth.attributes);
        let audited = all.fold(0, |all, one| all | one) & attribute::AUDIT != 0;
        let changeable = !rigid && !audited;
        let mut attributes = attribute::CONTINUE_SESSION;
        if changeable && rewritten.decrypt && !bound_to_parameters(engine, command) {
            attributes |= attribute::DECRYPT;
        }
        if changeable && command.shape.encrypt {
            attributes |= attribute::ENCRYPT;
        }
        if attributes == attribute::CONTINUE_SESSION && !audited {
            attributes |= attribute::AUDIT;
        }
        leave_out(&mut slots, command, attributes);
        let Some(lead) = lead(&mut slots, attributes) else {
            let own = engine.own_protection(command);
            let why = match (audited, command.auths.len()) {
                _ if own => "it has a salted or bound session of the program's own",
                (true, _) => "it has an audit session of the program's own",
                _ => "it has three sessions of the program's own",
            };
            match own {
                true => engine.warn(why),
                false => engine.tell(why)?,
            }
            return Ok(None);
        };
        let own = engine.own_protection(command);
        if own && passwords == 0 {
            engine.warn("it has a salted or bound session of the program's own");
            return Ok(None);
        }
        if rigid && !own {
            engine.tell(
                "it has an authorization HMAC of the program's own, so that nothing of it can be \
                 encrypted",
            )?;
        }
        if rigid && passwords > 0 && changes_auth(command) {
            return Err(super::engine::unsupported(
                "a new authValue, a password and a session of the program's own in one command \
                 are not supported (use passwords alone)",
            )
            .into());
        }
        let length = length(&slots, engine.session_hash(), command, rewritten);
        Ok(Some(Self {
            slots,
            lead,
            attributes,
            names,
            length,
        }))
    }

    /// How many sessions of the layer's own it takes.
    pub(super) fn sessions(&self) -> usize {
        let ours = |slot: &&Slot| matches!(slot, Slot::Ours { .. });
        self.slots.iter().filter(ours).count()
    }

    /// True where a session of the layer's own stands for a password.
    pub(super) fn has_passwords(&self) -> bool {
        let password = |slot: &Slot| {
            matches!(
                slot,
                Slot::Ours {
                    password: Some(_),
                    ..
                }
            )
        };
        self.slots.iter().any(password)
    }

    /// The length of the command that is sent.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The handles that the command that is sent needs, the layer's own apart.
    pub(super) fn needed(&self, command: &Command) -> Vec<u32> {
        let auths = self.slots.iter().zip(&command.auths);
        let sessions = auths
            .filter(|(slot, _)| matches!(slot, Slot::Keyless(_) | Slot::Rigid))
            .map(|(_, auth)| auth.handle);
        sessions.chain(command.handles.iter().copied()).collect()
    }

    /// Which session of the command that is sent a slot is.
    pub(super) fn sent_at(&self, at: usize) -> Option<usize> {
        let sent = |slot: &&Slot| slot.is_sent();
        let slot = self.slots.get(at).filter(sent)?;
        let before = self.slots[..at].iter().filter(sent).count();
        slot.is_sent().then_some(before)
    }

    /// Which slot a session of the command that is sent is.
    pub(super) fn slot_of(&self, sent: usize) -> Option<usize> {
        (0..self.slots.len()).find(|at| self.sent_at(*at) == Some(sent))
    }

    /// How many sessions the command that is sent has.
    pub(super) fn sent(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_sent()).count()
    }

    /// True where the command's first parameter is encrypted by the layer.
    pub(super) fn encrypts_command(&self) -> bool {
        self.attributes & attribute::DECRYPT != 0
    }

    /// True where the response's first parameter is encrypted for the layer.
    pub(super) fn encrypts_response(&self) -> bool {
        self.attributes & attribute::ENCRYPT != 0
    }

    /// The attributes of a slot's session, as the TPM gets them.
    pub(super) fn attributes_of(&self, at: usize, auth: Option<&Auth>) -> u8 {
        match (&self.slots[at], auth) {
            (Slot::Ours { .. }, _) if at == self.lead => self.attributes,
            (Slot::Ours { .. }, _) => attribute::CONTINUE_SESSION,
            (Slot::LeftOut(_), _) => 0,
            (Slot::Keyless(_), Some(auth)) => {
                let taken = self.attributes & (attribute::DECRYPT | attribute::ENCRYPT);
                auth.attributes & !taken
            }
            (_, auth) => auth.map_or(0, |auth| auth.attributes),
        }
    }

    /// Builds the command. The sessions that it takes are there.
    pub(super) fn build(
        &self,
        engine: &mut Engine,
        command: &Command,
        rewritten: &Rewritten,
    ) -> Flow<Sent> {
        for session in engine.ours.iter_mut().take(self.sessions()) {
            session.roll()?;
        }
        let mut plain = rewritten.parameters.clone();
        self.decrypt_theirs(command, &mut plain)?;
        let mut parameters = plain.clone();
        if self.encrypts_command() {
            if let (Slot::Ours { index, password }, Some(data)) =
                (&self.slots[self.lead], first_sized(&mut parameters))
            {
                let auth = password.as_ref().map_or(&[][..], |auth| auth.as_slice());
                engine.ours[*index].encrypt(auth, data)?;
            }
        }
        let mut area = Secret::new(Vec::with_capacity(self.length));
        for at in 0..self.slots.len() {
            self.put_auth(engine, command, rewritten.code, &parameters, at, &mut area);
        }
        let mut bytes = Secret::new(Vec::with_capacity(self.length));
        let size = Header::SIZE + 4 * command.handles.len() + 4 + area.len() + parameters.len();
        let header = Header {
            tag: TPM_ST_SESSIONS,
            size: size as u32,
            code: rewritten.code,
        };
        bytes.extend_from_slice(&header.to_bytes());
        for handle in &command.handles {
            bytes.put_u32(*handle);
        }
        bytes.put_u32(area.len() as u32);
        bytes.extend_from_slice(&area);
        bytes.extend_from_slice(&parameters);
        Ok(Sent {
            bytes,
            parameters: plain,
        })
    }

    /// Decrypts what the program encrypted with a session that protects nothing.
    fn decrypt_theirs(&self, command: &Command, parameters: &mut Secret) -> Flow<()> {
        if !self.encrypts_command() {
            return Ok(());
        }
        for (slot, auth) in self.slots.iter().zip(&command.auths) {
            let (Slot::Keyless(keyless) | Slot::LeftOut(keyless)) = slot else {
                continue;
            };
            if auth.attributes & attribute::DECRYPT != 0 {
                if let Some(data) = first_sized(parameters) {
                    let cipher = keyless.cipher(&auth.nonce, &keyless.shown)?;
                    cipher.apply(Direction::Decrypt, data)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the entry of one slot.
    fn put_auth(
        &self,
        engine: &Engine,
        command: &Command,
        code: u32,
        parameters: &[u8],
        at: usize,
        area: &mut Secret,
    ) {
        let auth = command.auths.get(at);
        let attributes = self.attributes_of(at, auth);
        // A session that authorizes is never left out.
        let others = match at {
            0 if command.shape.authorizations() > 0 => self.other_nonces(engine, command),
            _ => Vec::new(),
        };
        let (handle, nonce, hmac) = match (&self.slots[at], auth) {
            (Slot::Ours { index, password }, _) => {
                let session = &engine.ours[*index];
                let cp_hash = cp_hash(session.hash, code, &self.names, parameters);
                let value = password.as_ref().map_or(&[][..], |auth| auth.as_slice());
                let hmac = session.command_hmac(value, &cp_hash, &others, attributes);
                (session.handle, session.nonce_caller.clone(), hmac)
            }
            (Slot::Keyless(keyless), Some(auth)) => {
                let hmac = match keyless.hash {
                    Some(hash) if keyless.hmac_to_tpm => {
                        let input = HmacInput {
                            parameters: &cp_hash(hash, code, &self.names, parameters),
                            nonce_newer: &auth.nonce,
                            nonce_older: &keyless.nonce_tpm,
                            others: &others,
                            attributes,
                        };
                        input.hmac(hash, &keyless.value)
                    }
                    _ => Secret::default(),
                };
                (auth.handle, auth.nonce.clone(), hmac)
            }
            (Slot::Rigid, Some(auth)) => (auth.handle, auth.nonce.clone(), auth.hmac.clone()),
            (Slot::LeftOut(_), _) | (_, None) => return,
        };
        area.put_u32(handle);
        area.put_sized(&nonce);
        area.push(attributes);
        area.put_sized(&hmac);
    }

    /// The nonces of the decrypt and the encrypt session, where they are not the
    /// first one.
    fn other_nonces(&self, engine: &Engine, command: &Command) -> Vec<u8> {
        let with = |flag: u8| {
            (0..self.slots.len())
                .find(|at| self.attributes_of(*at, command.auths.get(*at)) & flag != 0)
                .filter(|at| *at != 0)
        };
        let nonce = |at: usize| match &self.slots[at] {
            Slot::Ours { index, .. } => engine.ours[*index].nonce_tpm.clone(),
            _ => command
                .auths
                .get(at)
                .and_then(|auth| engine.theirs.get(auth.handle))
                .map_or_else(Vec::new, |their| their.nonce_tpm.clone()),
        };
        let (decrypt, encrypt) = (with(attribute::DECRYPT), with(attribute::ENCRYPT));
        let mut nonces = decrypt.map_or_else(Vec::new, nonce);
        if encrypt != decrypt {
            nonces.extend(encrypt.map_or_else(Vec::new, nonce));
        }
        nonces
    }
}

impl Keyless {
    /// Its parameter encryption, which anyone can undo.
    pub(super) fn cipher<'a>(
        &'a self,
        nonce_newer: &'a [u8],
        nonce_older: &'a [u8],
    ) -> Flow<ParameterCipher<'a>> {
        match (self.hash, self.key_bits) {
            (Some(hash), Some(key_bits)) => Ok(ParameterCipher {
                hash,
                key_bits,
                value: &self.value,
                nonce_newer,
                nonce_older,
            }),
            _ => Err(Stop::Error(super::engine::unsupported(
                "a session of the program's encrypts in a way that is not supported",
            ))),
        }
    }
}

/// Returns the content of the TPM2B that parameters begin with.
pub(super) fn first_sized(parameters: &mut [u8]) -> Option<&mut [u8]> {
    let (size, rest) = parameters.split_first_chunk_mut()?;
    rest.get_mut(..usize::from(u16::from_be_bytes(*size)))
}

/// Returns an authValue as the TPM keeps it: without zeros at the end.
pub(super) fn without_zeros(value: &[u8]) -> Secret {
    let zeros = value.iter().rev().take_while(|byte| **byte == 0).count();
    Secret::new(value[..value.len() - zeros].to_vec())
}

/// True for commands whose response is authorized by another authValue than
/// the command.
pub(super) fn changes_auth(command: &Command) -> bool {
    matches!(command.code, cc::HIERARCHY_CHANGE_AUTH | cc::NV_CHANGE_AUTH)
}

/// What becomes of one authorization.
fn slot(
    engine: &Engine,
    command: &Command,
    names: &[Vec<u8>],
    at: usize,
    auth: &Auth,
) -> Flow<Slot> {
    let authorizes = at < command.shape.authorizations();
    if auth.handle == PASSWORD {
        // As the TPM would say, which must not be shown the password.
        let number = 0x800 | (at as u32 + 1) << 8;
        if auth.attributes & !attribute::CONTINUE_SESSION != 0 {
            return Err(Stop::Answer(rc::ATTRIBUTES | number));
        }
        if !auth.nonce.is_empty() {
            return Err(Stop::Answer(rc::NONCE | number));
        }
        if !authorizes {
            return Err(Stop::Answer(rc::HANDLE | number));
        }
        return Ok(Slot::Ours {
            index: 0,
            password: Some(without_zeros(&auth.hmac)),
        });
    }
    let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
    let Some(their) = engine.theirs.get(auth.handle) else {
        return Ok(
            match auth.hmac.is_empty() && auth.attributes & ciphers == 0 {
                true => Slot::Keyless(Keyless::silent()),
                false => Slot::Rigid,
            },
        );
    };
    let undone = auth.attributes & ciphers == 0 || their.key_bits.is_some();
    let (Some(hash), true, true) = (their.hash, their.keyless, undone) else {
        return Ok(Slot::Rigid);
    };
    let keyless = Keyless {
        value: Secret::default(),
        hmac_to_tpm: true,
        hmac_to_program: true,
        hash: Some(hash),
        key_bits: their.key_bits,
        nonce_tpm: their.nonce_tpm.clone(),
        shown: their.shown().to_vec(),
    };
    if their.password && authorizes {
        return Ok(Slot::Keyless(Keyless {
            value: without_zeros(&auth.hmac),
            hmac_to_tpm: true,
            hmac_to_program: false,
            ..keyless
        }));
    }
    if auth.hmac.is_empty() {
        return Ok(Slot::Keyless(Keyless {
            hmac_to_tpm: false,
            hmac_to_program: false,
            ..keyless
        }));
    }
    match verifies(engine, command, names, at, auth, their, hash) {
        true => Ok(Slot::Keyless(keyless)),
        false => Ok(Slot::Rigid),
    }
}

impl Keyless {
    /// A session whose HMAC is empty, in both directions.
    fn silent() -> Self {
        Self {
            value: Secret::default(),
            hmac_to_tpm: false,
            hmac_to_program: false,
            hash: None,
            key_bits: None,
            nonce_tpm: Vec::new(),
            shown: Vec::new(),
        }
    }
}

/// True where the program's HMAC is one with an empty key.
fn verifies(
    engine: &Engine,
    command: &Command,
    names: &[Vec<u8>],
    at: usize,
    auth: &Auth,
    their: &Their,
    hash: Hash,
) -> bool {
    let others = match at {
        0 if command.shape.authorizations() > 0 => program_nonces(engine, command),
        _ => Some(Vec::new()),
    };
    let Some(others) = others else {
        return false;
    };
    let input = HmacInput {
        parameters: &cp_hash(hash, command.code, names, &command.parameters),
        nonce_newer: &auth.nonce,
        nonce_older: their.shown(),
        others: &others,
        attributes: auth.attributes,
    };
    equal(&input.hmac(hash, &[]), &auth.hmac)
}

/// The nonces of the program's decrypt and encrypt sessions, where they are not
/// its first one; `None` where they are not known.
fn program_nonces(engine: &Engine, command: &Command) -> Option<Vec<u8>> {
    let with = |flag: u8| {
        command
            .auths
            .iter()
            .position(|auth| auth.attributes & flag != 0)
            .filter(|at| *at != 0)
    };
    let nonce = |at: usize| {
        let their = engine.theirs.get(command.auths[at].handle)?;
        Some(their.shown().to_vec())
    };
    let (decrypt, encrypt) = (with(attribute::DECRYPT), with(attribute::ENCRYPT));
    let mut nonces = match decrypt {
        Some(at) => nonce(at)?,
        None => Vec::new(),
    };
    if encrypt != decrypt {
        if let Some(at) = encrypt {
            nonces.extend(nonce(at)?);
        }
    }
    Some(nonces)
}

/// Leaves out the sessions that would only encrypt what the layer's encrypts.
fn leave_out(slots: &mut [Slot], command: &Command, attributes: u8) {
    let taken = attributes & (attribute::DECRYPT | attribute::ENCRYPT);
    for (at, auth) in command.auths.iter().enumerate() {
        let others = auth.attributes & !(taken | attribute::CONTINUE_SESSION);
        if at < command.shape.authorizations() || others != 0 || auth.attributes & taken == 0 {
            continue;
        }
        if let Some(slot) = slots.get_mut(at) {
            *slot = match std::mem::replace(slot, Slot::Rigid) {
                Slot::Keyless(keyless) => Slot::LeftOut(keyless),
                other => other,
            };
        }
    }
}

/// True where the first session's HMAC has the nonce of a session in it that the
/// layer does not know.
fn needs_unknown_nonce(engine: &Engine, command: &Command, slots: &[Slot]) -> bool {
    let answered_for = !matches!(slots.first(), None | Some(Slot::Rigid));
    let ciphers = attribute::DECRYPT | attribute::ENCRYPT;
    let mut others = command.auths.iter().skip(1);
    answered_for
        && others
            .any(|auth| auth.attributes & ciphers != 0 && engine.theirs.get(auth.handle).is_none())
}

/// Gives the layer's sessions to the passwords, one each.
fn number_ours(slots: &mut [Slot]) {
    let mut next = 0;
    for slot in slots {
        if let Slot::Ours { index, .. } = slot {
            *index = next;
            next += 1;
        }
    }
}

/// Finds the layer's session that encrypts or audits, and adds one where there
/// is none yet; `None` where that cannot be done.
fn lead(slots: &mut Vec<Slot>, attributes: u8) -> Option<usize> {
    let ours = |slot: &Slot| matches!(slot, Slot::Ours { .. });
    if let Some(at) = slots.iter().position(ours) {
        return Some(at);
    }
    let sent = slots.iter().filter(|slot| slot.is_sent()).count();
    if sent == 3 || attributes == attribute::CONTINUE_SESSION {
        return None;
    }
    slots.push(Slot::Ours {
        index: 0,
        password: None,
    });
    Some(slots.len() - 1)
}

/// True where a policy of the command's fixes its parameters' digest.
fn bound_to_parameters(engine: &Engine, command: &Command) -> bool {
    command
        .auths
        .iter()
        .filter_map(|auth| engine.theirs.get(auth.handle))
        .any(|their| their.kind != Kind::Hmac && their.cp_hash)
}

/// The length of the command that is sent.
fn length(slots: &[Slot], hash: Hash, command: &Command, rewritten: &Rewritten) -> usize {
    let entries: usize = slots
        .iter()
        .enumerate()
        .map(|(at, slot)| match (slot, command.auths.get(at)) {
            (Slot::Ours { .. }, _) => 9 + 2 * hash.size(),
            (Slot::Keyless(keyless), Some(auth)) => {
                let hash = keyless.hash.filter(|_| keyless.hmac_to_tpm);
                9 + auth.nonce.len() + hash.map_or(0, Hash::size)
            }
            (Slot::Rigid, Some(auth)) => 9 + auth.nonce.len() + auth.hmac.len(),
            (Slot::LeftOut(_), _) | (_, None) => 0,
        })
        .sum();
    Header::SIZE + 4 * command.handles.len() + 4 + entries + rewritten.parameters.len()
}

impl Engine {
    /// True where a session of the program's is salted or bound.
    fn own_protection(&self, command: &Command) -> bool {
        let theirs = command.auths.iter();
        let mut theirs = theirs.filter_map(|auth| self.theirs.get(auth.handle));
        theirs.any(|their| !their.keyless)
    }
}
