// SPDX-License-Identifier: BSD-2-Clause
//! Room in the TPM: objects and sessions that are moved aside, and brought back.

#![forbid(unsafe_code)]

use super::command::{self, Response};
use super::crypto::Secret;
use super::engine::Engine;
use super::exchange::Channel;
use super::failure::{Flow, code_of, forged, succeeded};
use super::handle_lists;
use crate::wire::header::Header;
use crate::wire::{CommandCode, Handle, ResponseCode};

/// The most handles in one response (MAX_CAP_HANDLES).
const MOST_HANDLES: u32 = 254;

impl Engine {
    /// Flushes a handle; that it is gone already is no error.
    pub(super) async fn flush(&mut self, handle: u32, channel: &Channel) -> Flow<()> {
        let flush = command::plain(CommandCode::FLUSH_CONTEXT, &handle.to_be_bytes());
        code_of(&channel.execute(flush).await?)?;
        Ok(())
    }

    /// Flushes the layer's sessions, to make room for one of the program's.
    pub(super) async fn flush_own_sessions(&mut self, channel: &Channel) -> Flow<()> {
        self.end_sessions();
        self.flush_ended_sessions(channel).await
    }

    /// Loads the program's sessions again that were moved aside for the layer's.
    pub(super) async fn bring_back(&mut self, channel: &Channel) {
        if self.aside.is_empty() {
            return;
        }
        let mut back = self.flush_own_sessions(channel).await.is_ok();
        for (handle, context) in std::mem::take(&mut self.aside) {
            back &= self
                .load(&context, channel)
                .await
                .is_ok_and(|now| now == handle);
        }
        if !back {
            self.warn("a session of the program's was moved aside and could not be loaded again");
        }
    }

    /// Runs a command that needs room for an object. If there is none, an object
    /// that the program's command does not need is moved aside.
    pub(super) async fn with_room(
        &mut self,
        request: Secret,
        needed: &[u32],
        aside: &mut Option<(u32, Vec<u8>)>,
        channel: &Channel,
    ) -> Flow<Secret> {
        let response = channel.execute(request.clone()).await?;
        if code_of(&response)? != ResponseCode::OBJECT_MEMORY || aside.is_some() {
            return Ok(response);
        }
        let loaded = self.list(Handle::TRANSIENT_FIRST, channel).await?;
        // Any object would do, since it is back before the program's command is sent.
        // An unused one is the smallest loss if it cannot be loaded again.
        let unused = loaded.iter().find(|handle| !needed.contains(handle));
        let Some(handle) = unused.or(loaded.first()).copied() else {
            return Ok(response);
        };
        let Some(context) = self.save(handle, channel).await? else {
            return Ok(response);
        };
        self.flush(handle, channel).await?;
        *aside = Some((handle, context));
        Ok(channel.execute(request).await?)
    }

    /// Saves a session that the program's command does not need, for the time of
    /// that command. Returns whether there was one.
    pub(super) async fn move_session_aside(
        &mut self,
        needed: &[u32],
        channel: &Channel,
    ) -> Flow<bool> {
        if self.aside.len() >= 2 {
            return Ok(false);
        }
        let loaded = self.list(Handle::LOADED_SESSION_FIRST, channel).await?;
        // A policy session may be listed with either type of handle.
        let is = |one: u32, other: u32| one & 0xff_ffff == other & 0xff_ffff;
        let used = |handle: u32| {
            needed
                .iter()
                .any(|needed| needed >> 25 == 1 && is(*needed, handle))
                || self
                    .own_sessions
                    .iter()
                    .any(|session| is(session.handle, handle))
        };
        let Some(handle) = loaded.into_iter().find(|handle| !used(*handle)) else {
            return Ok(false);
        };
        match self.save(handle, channel).await? {
            Some(context) => {
                self.aside.push((handle, context));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Returns the handles in use, from `first` on.
    async fn list(&mut self, first: Handle, channel: &Channel) -> Flow<Vec<u32>> {
        let body = handle_lists::request(first.0, MOST_HANDLES);
        let response = channel
            .execute(command::plain(CommandCode::GET_CAPABILITY, &body))
            .await?;
        succeeded("TPM2_GetCapability", &response)?;
        let listed = Response::parse(&response, CommandCode::GET_CAPABILITY, 0)
            .and_then(|parsed| handle_lists::handles(parsed.parameters));
        let (handles, _) = listed.ok_or_else(|| forged("the list of handles is malformed"))?;
        Ok(handles)
    }

    /// Saves a context, and returns it as ContextLoad takes it; `None` if the TPM
    /// refuses.
    pub(super) async fn save(&mut self, handle: u32, channel: &Channel) -> Flow<Option<Vec<u8>>> {
        let save = command::plain(CommandCode::CONTEXT_SAVE, &handle.to_be_bytes());
        let response = channel.execute(save).await?;
        Ok(match code_of(&response)? {
            ResponseCode::SUCCESS => Some(response[Header::SIZE..].to_vec()),
            _ => None,
        })
    }

    pub(super) async fn load(&mut self, context: &[u8], channel: &Channel) -> Flow<u32> {
        let response = channel
            .execute(command::plain(CommandCode::CONTEXT_LOAD, context))
            .await?;
        succeeded("TPM2_ContextLoad", &response)?;
        let parsed = Response::parse(&response, CommandCode::CONTEXT_LOAD, 0);
        let handle = parsed.and_then(|parsed| parsed.handle);
        Ok(handle.ok_or_else(|| forged("the response to TPM2_ContextLoad is malformed"))?)
    }
}
