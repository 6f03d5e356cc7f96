// SPDX-License-Identifier: BSD-2-Clause
//! How the layer's sessions begin and end: the salt key, the room that a session
//! needs, and the first exchange, which shows that the TPM has the key.

#![forbid(unsafe_code)]

use super::bytes::{Put, Reader};
use super::command::{self, Response, TPM_ST_SESSIONS, cc, cp_hash, rp_hash};
use super::crypto::{Hash, Secret, random};
use super::effects::primary_name;
use super::engine::{Engine, Flow, Stop, code_of, forged, is_transient_refusal, rc};
use super::key::{KeySource, Pinned, SaltKey, hex, name_of, null_template};
use super::line::Line;
use super::names::from_public_response;
use super::session::{PASSWORD, Session, attribute};
use crate::wire::header::Header;
use crate::{Error, ErrorKind};

const TPM_RH_NULL: u32 = 0x4000_0007;
/// The first handle of each range that GetCapability lists.
const TRANSIENT_FIRST: u32 = 0x8000_0000;
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;

impl Engine {
    /// The hash of the layer's sessions: that of the salt key's Name.
    pub(super) fn session_hash(&self) -> Hash {
        match (&self.key, &self.settings.source) {
            (Some(key), _)
            | (
                None,
                KeySource::Persistent {
                    pinned: Pinned::Public(key),
                    ..
                },
            ) => key.name_alg,
            _ => Hash::Sha256,
        }
    }

    /// Makes as many sessions as a command takes; `needed` are the handles in that
    /// command, which keep their places.
    pub(super) async fn ensure_sessions(
        &mut self,
        count: usize,
        needed: &[u32],
        line: &Line,
    ) -> Flow<()> {
        // A command without a known outcome may have rolled a session's nonces.
        let over = self.ours.iter().filter(|session| session.in_flight);
        self.stale.extend(over.map(|session| session.handle));
        self.ours.retain(|session| !session.in_flight);
        if self.ours.len() >= count {
            return Ok(());
        }
        self.flush_stale(line).await?;
        while self.ours.len() < count {
            if line.is_cancelled() {
                return Err(Stop::Answer(rc::CANCELED));
            }
            self.make_session(needed, line).await?;
        }
        Ok(())
    }

    /// Makes sure, after a failure, that the TPM has the nonces that the layer has,
    /// and ends the sessions and returns false where it has not: an authorization
    /// with other ones would count as a wrong password.
    pub(super) async fn are_in_step(&mut self, line: &Line) -> Flow<bool> {
        for index in 0..self.ours.len() {
            if self.ours[index].doubtful && !self.probe(index, line).await? {
                self.retire_all();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends all sessions of ours; the TPM is told before the next ones are made.
    pub(super) fn retire_all(&mut self) {
        let ours = self.ours.drain(..);
        self.stale.extend(ours.map(|session| session.handle));
    }

    async fn flush_stale(&mut self, line: &Line) -> Flow<()> {
        for handle in std::mem::take(&mut self.stale) {
            self.flush(handle, line).await?;
        }
        Ok(())
    }

    /// Flushes, whether or not it is there.
    async fn flush(&mut self, handle: u32, line: &Line) -> Flow<()> {
        let flush = command::plain(cc::FLUSH_CONTEXT, &handle.to_be_bytes());
        code_of(&line.run(flush).await?)?;
        Ok(())
    }

    /// Takes the layer's sessions out of the TPM, for one of the program's.
    pub(super) async fn make_way(&mut self, line: &Line) -> Flow<()> {
        self.retire_all();
        self.flush_stale(line).await
    }

    /// Loads the program's sessions again that ours have the places of.
    pub(super) async fn bring_back(&mut self, line: &Line) {
        if self.aside.is_empty() {
            return;
        }
        let mut back = self.make_way(line).await.is_ok();
        for (handle, context) in std::mem::take(&mut self.aside) {
            back &= self
                .load(&context, line)
                .await
                .is_ok_and(|now| now == handle);
        }
        if !back {
            self.warn("a session of the program's was moved aside and could not be loaded again");
        }
    }

    /// Makes a session, and has the TPM show that it holds the salt key.
    async fn make_session(&mut self, needed: &[u32], line: &Line) -> Flow<()> {
        let session = match self.settings.source.clone() {
            KeySource::Null => self.session_on_primary(needed, line).await?,
            KeySource::Persistent { handle, pinned } => {
                let key = self.persistent_key(handle, &pinned, line).await?;
                let session = self.start(&key, handle, needed, line).await?;
                (session, key)
            }
        };
        let (session, key) = session;
        self.ours.push(session);
        let index = self.ours.len() - 1;
        if !self.probe(index, line).await? {
            self.retire_all();
            return Err(Stop::Error(Error::new(
                ErrorKind::IoError,
                format!(
                    "the layer wrap: the TPM does not hold the salt key with the Name {}, or \
                     something between this program and its TPM changes what passes",
                    hex(&key.name)
                ),
            )));
        }
        if self.key.is_none() {
            crate::sys::log::info!("wrap: the salt key's Name is {}", hex(&key.name));
        }
        self.key = Some(key);
        Ok(())
    }

    /// Makes a session salted with the null hierarchy's primary, which is loaded
    /// only meanwhile.
    async fn session_on_primary(
        &mut self,
        needed: &[u32],
        line: &Line,
    ) -> Flow<(Session, SaltKey)> {
        let mut aside = None;
        let made = self.load_primary(needed, &mut aside, line).await;
        let session = match made {
            Ok((key, handle)) => {
                let session = self.start(&key, handle, needed, line).await;
                let flushed = self.flush(handle, line).await;
                session.and_then(|session| flushed.map(|()| (session, key)))
            }
            Err(stop) => Err(stop),
        };
        if let Some((handle, context)) = aside {
            let now = self.load(&context, line).await?;
            if now != handle {
                self.flush(now, line).await?;
                return Err(Stop::Error(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "the layer wrap: the object {handle:08x} was moved aside to make room for \
                         the salt key, and would have come back as {now:08x}: it is lost (flush \
                         an object that is not used, or put the layer rm below this one)"
                    ),
                )));
            }
        }
        session
    }

    /// Loads the primary's saved context, or makes the primary.
    async fn load_primary(
        &mut self,
        needed: &[u32],
        aside: &mut Option<(u32, Vec<u8>)>,
        line: &Line,
    ) -> Flow<(SaltKey, u32)> {
        if let (Some(key), Some(context)) = (self.key.clone(), self.primary.clone()) {
            let request = command::plain(cc::CONTEXT_LOAD, &context);
            let response = self.with_room(request, needed, aside, line).await?;
            let loaded = Response::parse(&response, true, 0);
            if let Some(handle) = loaded.and_then(|response| response.handle) {
                // Another key does not find the salt.
                return Ok((key, handle));
            }
        }
        self.primary = None;
        let request = create_primary();
        let response = self.with_room(request, needed, aside, line).await?;
        match code_of(&response)? {
            0 => {}
            code => {
                return Err(own_failure(
                    "TPM2_CreatePrimary in the null hierarchy",
                    code,
                ));
            }
        }
        let parsed = Response::parse(&response, true, 1);
        let (handle, key) = parsed
            .and_then(|parsed| Some((parsed.handle?, primary_key(parsed.parameters)?)))
            .ok_or_else(|| forged("the null hierarchy's primary is not what was asked for"))?;
        let key = match self.expected(key) {
            Ok(key) => key,
            Err(error) => {
                self.flush(handle, line).await?;
                return Err(error.into());
            }
        };
        self.primary = self.save(handle, line).await?;
        Ok((key, handle))
    }

    /// Checks that a null primary is the one of the first session, and the one
    /// that was asked for by name.
    fn expected(&self, key: SaltKey) -> crate::Result<SaltKey> {
        if let Some(name) = self
            .settings
            .name
            .as_ref()
            .filter(|name| **name != key.name)
        {
            return Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "the layer wrap: the null hierarchy's primary has the Name {}, and name={} \
                     was given: the TPM was reset since that Name was noted, or another one answers",
                    hex(&key.name),
                    hex(name)
                ),
            ));
        }
        if let Some((name, file)) = &self.settings.system_name {
            if *name != key.name {
                return Err(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "the layer wrap: the null hierarchy's primary has the Name {}, and the \
                         kernel saw {} ({file}): the TPM was reset since, or another one answers",
                        hex(&key.name),
                        hex(name)
                    ),
                ));
            }
        }
        match &self.key {
            Some(first) if first.name != key.name => Err(Error::new(
                ErrorKind::IoError,
                format!(
                    "the layer wrap: the null hierarchy's primary has the Name {} and had {} \
                     before: the TPM was reset, or another one answers (open the TPM anew if it \
                     was reset)",
                    hex(&key.name),
                    hex(&first.name)
                ),
            )),
            _ => Ok(key),
        }
    }

    /// Runs a command that takes a place for an object, and moves one that the
    /// program's command does not need aside where there is none.
    async fn with_room(
        &mut self,
        request: Secret,
        needed: &[u32],
        aside: &mut Option<(u32, Vec<u8>)>,
        line: &Line,
    ) -> Flow<Secret> {
        let response = line.run(request.clone()).await?;
        if code_of(&response)? != rc::OBJECT_MEMORY || aside.is_some() {
            return Ok(response);
        }
        let loaded = self.list(TRANSIENT_FIRST, line).await?;
        // Any will do: it is back before the program's command is sent. But one
        // that is not in use leaves least behind if it is lost.
        let unused = loaded.iter().find(|handle| !needed.contains(handle));
        let Some(handle) = unused.or(loaded.first()).copied() else {
            return Ok(response);
        };
        let Some(context) = self.save(handle, line).await? else {
            return Ok(response);
        };
        self.flush(handle, line).await?;
        *aside = Some((handle, context));
        Ok(line.run(request).await?)
    }

    /// Starts a session that is salted with a loaded key.
    async fn start(
        &mut self,
        key: &SaltKey,
        handle: u32,
        needed: &[u32],
        line: &Line,
    ) -> Flow<Session> {
        let salt = key.salt()?;
        let hash = key.name_alg;
        let nonce_caller = random(hash.size())?;
        let mut body = Secret::new(Vec::with_capacity(256));
        body.put_u32(handle);
        body.put_u32(TPM_RH_NULL);
        body.put_sized(&nonce_caller);
        body.put_sized(&salt.encrypted);
        body.push(0); // TPM_SE_HMAC
        for field in [0x0006, key.key_bits, 0x0043, hash.id()] {
            body.put_u16(field);
        }
        let request = command::plain(cc::START_AUTH_SESSION, &body);
        loop {
            let response = line.run(request.clone()).await?;
            match code_of(&response)? {
                0 => {
                    let parsed = Response::parse(&response, true, 0);
                    let started = parsed.and_then(|parsed| {
                        let mut reader = Reader(parsed.parameters);
                        let nonce = reader.sized().filter(|nonce| nonce.len() == hash.size())?;
                        let handle = parsed.handle.filter(|handle| handle >> 24 == 0x02)?;
                        reader.is_empty().then_some((handle, nonce))
                    });
                    let (handle, nonce_tpm) = started.ok_or_else(|| {
                        forged("the response to TPM2_StartAuthSession is not of its form")
                    })?;
                    return Ok(Session::new(
                        handle,
                        hash,
                        key.key_bits,
                        &salt.value,
                        nonce_tpm,
                        &nonce_caller,
                    ));
                }
                rc::SESSION_MEMORY if self.move_session_aside(needed, line).await? => {}
                code => return Err(own_failure("TPM2_StartAuthSession", code)),
            }
        }
    }

    /// Saves a session that the program's command does not need, for the time of
    /// that command; returns whether there was one.
    pub(super) async fn move_session_aside(&mut self, needed: &[u32], line: &Line) -> Flow<bool> {
        if self.aside.len() >= 2 {
            return Ok(false);
        }
        let loaded = self.list(LOADED_SESSION_FIRST, line).await?;
        // A policy session is listed as one of either type.
        let is = |one: u32, other: u32| one & 0xff_ffff == other & 0xff_ffff;
        let used = |handle: u32| {
            needed
                .iter()
                .any(|needed| needed >> 25 == 1 && is(*needed, handle))
                || self.ours.iter().any(|session| is(session.handle, handle))
        };
        let Some(handle) = loaded.into_iter().find(|handle| !used(*handle)) else {
            return Ok(false);
        };
        match self.save(handle, line).await? {
            Some(context) => {
                self.aside.push((handle, context));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Lists the handles in use from one on.
    async fn list(&mut self, first: u32, line: &Line) -> Flow<Vec<u32>> {
        let mut body = Vec::new();
        for word in [1, first, 254] {
            body.put_u32(word);
        }
        let response = line.run(command::plain(cc::GET_CAPABILITY, &body)).await?;
        match code_of(&response)? {
            0 => {}
            code => return Err(own_failure("TPM2_GetCapability", code)),
        }
        let listed = Response::parse(&response, false, 0).and_then(|parsed| {
            let mut reader = Reader(parsed.parameters);
            reader.bytes(5)?;
            let count = reader.u32()?.min(254);
            (0..count).map(|_| reader.u32()).collect()
        });
        Ok(listed.ok_or_else(|| forged("the list of handles is not of its form"))?)
    }

    /// Saves a context, and returns it as ContextLoad takes it; `None` where the
    /// TPM refuses.
    async fn save(&mut self, handle: u32, line: &Line) -> Flow<Option<Vec<u8>>> {
        let save = command::plain(cc::CONTEXT_SAVE, &handle.to_be_bytes());
        let response = line.run(save).await?;
        Ok(match code_of(&response)? {
            0 => Some(response[Header::SIZE..].to_vec()),
            _ => None,
        })
    }

    async fn load(&mut self, context: &[u8], line: &Line) -> Flow<u32> {
        let response = line.run(command::plain(cc::CONTEXT_LOAD, context)).await?;
        match code_of(&response)? {
            0 => {}
            code => return Err(own_failure("TPM2_ContextLoad", code)),
        }
        let parsed = Response::parse(&response, true, 0);
        let handle = parsed.and_then(|parsed| parsed.handle);
        Ok(handle.ok_or_else(|| forged("the response to TPM2_ContextLoad is not of its form"))?)
    }

    /// Finds the persistent salt key, which must be the one of the file.
    async fn persistent_key(&mut self, handle: u32, pinned: &Pinned, line: &Line) -> Flow<SaltKey> {
        let read = command::plain(cc::READ_PUBLIC, &handle.to_be_bytes());
        let response = line.run(read).await?;
        match code_of(&response)? {
            0 => {}
            code if is_transient_refusal(code) => return Err(Stop::Answer(code)),
            code => {
                return Err(Stop::Error(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "the layer wrap: there is no salt key at the handle 0x{handle:08x} \
                         (TPM2_ReadPublic: response code {code:x}); handle= says where it is, \
                         and tpm2_evictcontrol puts it there"
                    ),
                )));
            }
        }
        let parsed = Response::parse(&response, false, 0);
        let public = parsed.and_then(|parsed| {
            from_public_response(handle, parsed.parameters)?;
            Reader(parsed.parameters).sized()
        });
        let public = public.ok_or_else(|| {
            forged("the salt key's public area and its Name do not belong together")
        })?;
        let wrong = |found: String| {
            Stop::Error(Error::new(
                ErrorKind::IoError,
                format!(
                    "the layer wrap: the key at the handle 0x{handle:08x} is not the one of the \
                     file: {found} (key= is the public part of that key, as tpm2_readpublic -o \
                     writes it; or another TPM answers)"
                ),
            ))
        };
        let found = SaltKey::from_public(public);
        if let (Some(first), Ok(found)) = (&self.key, &found) {
            if first != found {
                return Err(wrong(format!(
                    "its Name is {}, and was {} before",
                    hex(&found.name),
                    hex(&first.name)
                )));
            }
        }
        match (pinned, found) {
            (Pinned::Public(key), Ok(found)) if *key == found => Ok(found),
            (Pinned::Public(key), Ok(found)) => Err(wrong(format!(
                "its Name is {}, the file's is {}",
                hex(&found.name),
                hex(&key.name)
            ))),
            (Pinned::Point(point), Ok(found)) if found.is_at(point) => {
                match self
                    .settings
                    .name
                    .as_ref()
                    .filter(|name| **name != found.name)
                {
                    Some(name) => Err(wrong(format!(
                        "its Name is {}, and name={} was given",
                        hex(&found.name),
                        hex(name)
                    ))),
                    None => Ok(found),
                }
            }
            (Pinned::Point(_), Ok(found)) => {
                Err(wrong(format!("its Name is {}", hex(&found.name))))
            }
            (_, Err(error)) => Err(wrong(error.to_string())),
        }
    }

    /// Has the TPM answer with a session of ours, and returns whether the two
    /// have the same key and nonces.
    pub(super) async fn probe(&mut self, index: usize, line: &Line) -> Flow<bool> {
        let attributes = attribute::CONTINUE_SESSION | attribute::ENCRYPT;
        let parameters = 16u16.to_be_bytes();
        let Some(session) = self.ours.get_mut(index) else {
            return Ok(false);
        };
        session.roll()?;
        let cp_hash = cp_hash(session.hash, cc::GET_RANDOM, &[], &parameters);
        let hmac = session.command_hmac(&[], &cp_hash, &[], attributes);
        let mut area = Vec::new();
        area.put_u32(session.handle);
        area.put_sized(&session.nonce_caller);
        area.push(attributes);
        area.put_sized(&hmac);
        let mut body = Secret::default();
        body.put_u32(area.len() as u32);
        body.extend_from_slice(&area);
        body.extend_from_slice(&parameters);
        let mut request = command::plain(cc::GET_RANDOM, &body);
        request[..2].copy_from_slice(&TPM_ST_SESSIONS.to_be_bytes());
        session.in_flight = true;
        let response = line.run(request).await?;
        let code = code_of(&response)?;
        let Some(session) = self.ours.get_mut(index) else {
            return Ok(false);
        };
        if code != 0 {
            session.in_flight = false;
            return match is_transient_refusal(code) {
                true => Err(Stop::Answer(code)),
                false => Ok(false),
            };
        }
        let genuine = Response::parse(&response, false, 1).filter(|parsed| {
            let rp_hash = rp_hash(session.hash, cc::GET_RANDOM, parsed.parameters);
            parsed.auths.iter().all(|auth| {
                auth.nonce.len() == session.hash.size()
                    && auth.attributes == attributes
                    && session.is_response_hmac(
                        &[],
                        &rp_hash,
                        auth.nonce,
                        auth.attributes,
                        auth.hmac,
                    )
            })
        });
        match genuine.as_ref().and_then(|parsed| parsed.auths.first()) {
            Some(auth) => {
                session.nonce_tpm = auth.nonce.to_vec();
                (session.in_flight, session.doubtful) = (false, false);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// A command of the layer's own that failed: the program is told why if it would
/// have been told so without the layer.
fn own_failure(what: &str, code: u32) -> Stop {
    if is_transient_refusal(code) {
        return Stop::Answer(code);
    }
    Stop::Error(Error::new(
        ErrorKind::IoError,
        format!("the layer wrap: {what} failed with the response code {code:x}"),
    ))
}

/// The CreatePrimary of the null hierarchy's key, whose password is empty for
/// all.
fn create_primary() -> Secret {
    let mut body = Secret::default();
    body.put_u32(TPM_RH_NULL);
    body.put_u32(9);
    body.put_u32(PASSWORD);
    body.put_sized(&[]);
    body.push(attribute::CONTINUE_SESSION);
    body.put_sized(&[]);
    body.put_sized(&[0; 4]); // no authValue, no data
    body.put_sized(&null_template());
    body.put_sized(&[]); // outsideInfo
    body.put_u32(0); // creationPCR
    let mut request = command::plain(cc::CREATE_PRIMARY, &body);
    request[..2].copy_from_slice(&TPM_ST_SESSIONS.to_be_bytes());
    request
}

/// The key of a CreatePrimary response, if it is what [`null_template`] asks for
/// and its Name is its own.
fn primary_key(parameters: &[u8]) -> Option<SaltKey> {
    let public = Reader(parameters).sized()?;
    let template = null_template();
    // All but the two empty TPM2Bs of the unique.
    if !public.starts_with(template.strip_suffix(&[0; 4])?) {
        return None;
    }
    let key = SaltKey::from_public(public).ok()?;
    let name = primary_name(&mut Reader(parameters))?;
    (name == name_of(key.name_alg, public)).then_some(key)
}
