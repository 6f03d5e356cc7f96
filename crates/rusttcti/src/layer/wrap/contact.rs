// SPDX-License-Identifier: BSD-2-Clause
//! The beginning and the end of the layer's sessions: the salt key, the room that a
//! session needs, and the first exchange, which shows that the TPM has the key.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{self, Response, cp_hash, rp_hash};
use super::crypto::{Hash, Secret, random};
use super::engine::Engine;
use super::key::{KeySource, Pinned, SaltKey, hex};
use super::line::Line;
use super::salt::TPM_RH_NULL;
use super::session::{Session, attribute};
use super::stop::{Flow, Stop, code_of, forged, is_transient_refusal, own_failure};
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, ResponseCode, tag};
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
        line: &Line,
    ) -> Flow<()> {
        // A command whose outcome is unknown may have rolled a session's nonces.
        let over = self.ours.iter().filter(|session| session.in_flight);
        self.stale.extend(over.map(|session| session.handle));
        self.ours.retain(|session| !session.in_flight);
        if self.ours.len() >= count {
            return Ok(());
        }
        self.flush_stale(line).await?;
        while self.ours.len() < count {
            if line.is_cancelled() {
                return Err(Stop::Answer(ResponseCode::CANCELED));
            }
            self.make_session(needed, line).await?;
        }
        Ok(())
    }

    /// Checks, after a failure, that the TPM has the layer's nonces. If it does
    /// not, the sessions end and false is returned: an authorization with other
    /// nonces would count as a wrong password.
    pub(super) async fn are_in_step(&mut self, line: &Line) -> Flow<bool> {
        for index in 0..self.ours.len() {
            if self.ours[index].doubtful && !self.probe(index, line).await? {
                self.retire_all();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends all of the layer's sessions. They are flushed before the next ones are
    /// made.
    pub(super) fn retire_all(&mut self) {
        let ours = self.ours.drain(..);
        self.stale.extend(ours.map(|session| session.handle));
    }

    pub(super) async fn flush_stale(&mut self, line: &Line) -> Flow<()> {
        for handle in std::mem::take(&mut self.stale) {
            self.flush(handle, line).await?;
        }
        Ok(())
    }

    /// Makes a session, and checks that the TPM holds the salt key.
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

    /// Starts a session that is salted with a loaded key.
    pub(super) async fn start(
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
        let request = command::plain(CommandCode::START_AUTH_SESSION, &body);
        loop {
            let response = match line.run(request.clone()).await {
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
                        let handle = parsed.handle.filter(|handle| handle >> 24 == 0x02)?;
                        reader.is_at_end().then_some((handle, nonce))
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
                ResponseCode::SESSION_MEMORY if self.move_session_aside(needed, line).await? => {}
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
    pub(super) async fn probe(&mut self, index: usize, line: &Line) -> Flow<bool> {
        let attributes = attribute::CONTINUE_SESSION | attribute::ENCRYPT;
        let parameters = 16u16.to_be_bytes();
        let Some(session) = self.ours.get_mut(index) else {
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
        let response = line.run(request).await?;
        let code = code_of(&response)?;
        let Some(session) = self.ours.get_mut(index) else {
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
