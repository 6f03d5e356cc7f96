// SPDX-License-Identifier: BSD-2-Clause
//! The source of the salt key: the null hierarchy's primary, or a persistent key whose
//! public part is in a file. The key must not change.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{self, Response};
use super::crypto::Secret;
use super::effects::primary_name;
use super::engine::Engine;
use super::exchange::Channel;
use super::failure::{Flow, Stop, code_of, forged, is_transient_refusal, succeeded};
use super::key::{Pinned, SaltKey, hex, name_of, null_template};
use super::names::from_public_response;
use super::session::{PASSWORD, Session, attribute};
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Handle, ResponseCode, tag};
use crate::{Error, ErrorKind};

impl Engine {
    /// Makes a session salted with the null hierarchy's primary, which is loaded
    /// only for that time.
    pub(super) async fn session_on_primary(
        &mut self,
        needed: &[u32],
        channel: &Channel,
    ) -> Flow<(Session, SaltKey)> {
        let mut aside = None;
        let made = self.load_primary(needed, &mut aside, channel).await;
        let session = match made {
            Ok((key, handle)) => {
                let session = self.start(&key, handle, needed, channel).await;
                let flushed = self.flush(handle, channel).await;
                session.and_then(|session| flushed.map(|()| (session, key)))
            }
            Err(stop) => Err(stop),
        };
        if let Some((handle, context)) = aside {
            let now = self.load(&context, channel).await?;
            if now != handle {
                self.flush(now, channel).await?;
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
        channel: &Channel,
    ) -> Flow<(SaltKey, u32)> {
        if let (Some(key), Some(context)) = (self.key.clone(), self.primary.clone()) {
            let request = command::plain(CommandCode::CONTEXT_LOAD, &context);
            let response = self.with_room(request, needed, aside, channel).await?;
            let loaded = Response::parse(&response, CommandCode::CONTEXT_LOAD, 0);
            if let Some(handle) = loaded.and_then(|response| response.handle) {
                // If it is another key, it cannot compute the salt.
                return Ok((key, handle));
            }
        }
        self.primary = None;
        let request = create_primary();
        let response = self.with_room(request, needed, aside, channel).await?;
        succeeded("TPM2_CreatePrimary in the null hierarchy", &response)?;
        let parsed = Response::parse(&response, CommandCode::CREATE_PRIMARY, 1);
        let (handle, key) = parsed
            .and_then(|parsed| Some((parsed.handle?, primary_key(parsed.parameters)?)))
            .ok_or_else(|| forged("the null hierarchy's primary is not what was asked for"))?;
        let key = match self.expected(key) {
            Ok(key) => key,
            Err(error) => {
                self.flush(handle, channel).await?;
                return Err(error.into());
            }
        };
        self.primary = self.save(handle, channel).await?;
        Ok((key, handle))
    }

    /// Checks that a null primary is the one of the first session, and has the Name
    /// of the options.
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

    /// Reads the persistent salt key, which must be the one of the file.
    pub(super) async fn persistent_key(
        &mut self,
        handle: u32,
        pinned: &Pinned,
        channel: &Channel,
    ) -> Flow<SaltKey> {
        let read = command::plain(CommandCode::READ_PUBLIC, &handle.to_be_bytes());
        let response = channel.execute(read).await?;
        match code_of(&response)? {
            ResponseCode::SUCCESS => {}
            code if is_transient_refusal(code) => return Err(Stop::Answer(code)),
            code => {
                return Err(Stop::Error(Error::new(
                    ErrorKind::IoError,
                    format!(
                        "the layer wrap: there is no salt key at the handle 0x{handle:08x} \
                         (TPM2_ReadPublic: response code {:x}); handle= says where it is, \
                         and tpm2_evictcontrol puts it there",
                        code.0
                    ),
                )));
            }
        }
        let parsed = Response::parse(&response, CommandCode::READ_PUBLIC, 0);
        let public = parsed.and_then(|parsed| {
            from_public_response(handle, parsed.parameters)?;
            Cursor::new(parsed.parameters, 0).sized()
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
}

/// Returns the CreatePrimary of the null hierarchy's key, whose password is always
/// empty.
fn create_primary() -> Secret {
    let mut body = Secret::default();
    body.put_u32(Handle::NULL.0);
    body.put_u32(9);
    body.put_u32(PASSWORD);
    body.put_sized(&[]);
    body.push(attribute::CONTINUE_SESSION);
    body.put_sized(&[]);
    body.put_sized(&[0; 4]); // no authValue, no data
    body.put_sized(&null_template());
    body.put_sized(&[]); // outsideInfo
    body.put_u32(0); // creationPCR
    let mut request = command::plain(CommandCode::CREATE_PRIMARY, &body);
    request[..2].copy_from_slice(&tag::SESSIONS.to_be_bytes());
    request
}

/// Returns the key of a CreatePrimary response, if it fits [`null_template`] and
/// its Name is right.
fn primary_key(parameters: &[u8]) -> Option<SaltKey> {
    let public = Cursor::new(parameters, 0).sized()?;
    let template = null_template();
    // The template, without the two empty TPM2Bs of its unique.
    if !public.starts_with(template.strip_suffix(&[0; 4])?) {
        return None;
    }
    let key = SaltKey::from_public(public).ok()?;
    let name = primary_name(&mut Cursor::new(parameters, 0))?;
    (name == name_of(key.name_alg, public)).then_some(key)
}
