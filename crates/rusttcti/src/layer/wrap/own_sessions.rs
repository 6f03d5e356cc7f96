// SPDX-License-Identifier: BSD-2-Clause
//! The beginning and the end of the layer's own sessions: how they are salted and
//! started, the first exchange, which shows that the TPM has the key, and the list of
//! those that are flushed.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{self, Response, cp_hash, rp_hash};
use super::crypto::{Hash, Secret, algorithm, random};
use super::engine::Engine;
use super::exchange::Channel;
use super::failure::{Flow, Stop, code_of, forged, is_transient_refusal, own_failure};
use super::key::{KeySource, Pinned, SaltKey, hex};
use super::session::{Session, attribute};
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Handle, HandleType, ResponseCode, session_type, tag};
use crate::{Error, ErrorKind};

impl Engine {
    /// Returns the hash of the layer's sessions: that of the salt key's Name.
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

    /// Makes as many sessions as a command takes. `needed` are the handles in that
    /// command, which must stay loaded.
    pub(super) async fn ensure_sessions(
        &mut self,
        count: usize,
        needed: &[u32],
        channel: &Channel,
    ) -> Flow<()> {
        // A command whose outcome is unknown may have rolled a session's nonces.
        let over = self.own_sessions.iter().filter(|session| session.in_flight);
        self.ended_sessions
            .extend(over.map(|session| session.handle));
        self.own_sessions.retain(|session| !session.in_flight);
        if self.own_sessions.len() >= count {
            return Ok(());
        }
        self.flush_ended_sessions(channel).await?;
        while self.own_sessions.len() < count {
            if channel.is_cancelled() {
                return Err(Stop::Answer(ResponseCode::CANCELED));
            }
            self.make_session(needed, channel).await?;
        }
        Ok(())
    }

    /// Checks, after a failure, that the TPM has the layer's nonces. If it does
    /// not, the sessions end and false is returned: an authorization with other
    /// nonces would count as a wrong password.
    pub(super) async fn are_in_step(&mut self, channel: &Channel) -> Flow<bool> {
        for index in 0..self.own_sessions.len() {
            if self.own_sessions[index].doubtful && !self.probe(index, channel).await? {
                self.end_sessions();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends all of the layer's sessions. They are flushed before the next ones are
    /// made.
    pub(super) fn end_sessions(&mut self) {
        let ended = self.own_sessions.drain(..);
        self.ended_sessions
            .extend(ended.map(|session| session.handle));
    }

    pub(super) async fn flush_ended_sessions(&mut self, channel: &Channel) -> Flow<()> {
        for handle in std::mem::take(&mut self.ended_sessions) {
            self.flush(handle, channel).await?;
        }
        Ok(())
    }

    /// Makes a session, and checks that the TPM holds the salt key.
    async fn make_session(&mut self, needed: &[u32], channel: &Channel) -> Flow<()> {
        let session = match self.settings.source.clone() {
            KeySource::Null => self.session_on_primary(needed, channel).await?,
            KeySource::Persistent { handle, pinned } => {
                let key = self.persistent_key(handle, &pinned, channel).await?;
                let session = self.start(&key, handle, needed, channel).await?;
                (session, key)
            }
        };
        let (session, key) = session;
        self.own_sessions.push(session);
        let index = self.own_sessions.len() - 1;
        if !self.probe(index, channel).await? {
            self.end_sessions();
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

    /// Starts a session that is salted with a loaded key.
    pub(super) async fn start(
        &mut self,
        key: &SaltKey,
        handle: u32,
        needed: &[u32],
        channel: &Channel,
    ) -> Flow<Session> {
        let salt = key.salt()?;
        let hash = key.name_alg;
        let nonce_caller = random(hash.size())?;
        let mut body = Secret::new(Vec::with_capacity(256));
        body.put_u32(handle);
        body.put_u32(Handle::NULL.0);
        body.put_sized(&nonce_caller);
        body.put_sized(&salt.encrypted);
        body.push(session_type::HMAC);
        for field in [algorithm::AES, key.key_bits, algorithm::CFB, hash.id()] {
            body.put_u16(field);
        }
        let request = command::plain(CommandCode::START_AUTH_SESSION, &body);
        loop {
            let response = match channel.execute(request.clone()).await {
                // The kernel's resource manager has no place left.
                Err(error) if error.kind() == ErrorKind::Memory => {
                    command::refusal(ResponseCode::SESSION_MEMORY)
                }
                response => response?,
            };
            match code_of(&response)? {
                ResponseCode::SUCCESS => {
                    let parsed = Response::parse(&response, CommandCode::START_AUTH_SESSION, 0);
                    let started = parsed.and_then(|parsed| {
                        let mut reader = Cursor::new(parsed.parameters, 0);
                        let nonce = reader.sized().filter(|nonce| nonce.len() == hash.size())?;
                        let handle = parsed.handle.filter(|handle| {
                            Handle(*handle).handle_type() == HandleType::HmacSession
                        })?;
                        reader.is_at_end().then_some((handle, nonce))
                    });
                    let (handle, nonce_tpm) = started.ok_or_else(|| {
                        forged("the response to TPM2_StartAuthSession is malformed")
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
                ResponseCode::SESSION_MEMORY
                    if self.move_session_aside(needed, channel).await? => {}
                code => {
                    if matches!(
                        code,
                        ResponseCode::SESSION_MEMORY | ResponseCode::SESSION_HANDLES
                    ) {
                        self.warn_of_full_tpm();
                    }
                    return Err(own_failure("TPM2_StartAuthSession", code));
                }
            }
        }
    }

    /// Runs a command with one of the layer's sessions, and returns whether the TPM
    /// has its key and nonces.
    pub(super) async fn probe(&mut self, index: usize, channel: &Channel) -> Flow<bool> {
        let attributes = attribute::CONTINUE_SESSION | attribute::ENCRYPT;
        let parameters = 16u16.to_be_bytes();
        let Some(session) = self.own_sessions.get_mut(index) else {
            return Ok(false);
        };
        session.roll()?;
        let cp_hash = cp_hash(session.hash, CommandCode::GET_RANDOM, &[], &parameters);
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
        let mut request = command::plain(CommandCode::GET_RANDOM, &body);
        request[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
        session.in_flight = true;
        let response = channel.execute(request).await?;
        let code = code_of(&response)?;
        let Some(session) = self.own_sessions.get_mut(index) else {
            return Ok(false);
        };
        if !code.is_success() {
            session.in_flight = false;
            return match is_transient_refusal(code) {
                true => Err(Stop::Answer(code)),
                false => Ok(false),
            };
        }
        let genuine = Response::parse(&response, CommandCode::GET_RANDOM, 1).filter(|parsed| {
            let rp_hash = rp_hash(session.hash, CommandCode::GET_RANDOM, parsed.parameters);
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
