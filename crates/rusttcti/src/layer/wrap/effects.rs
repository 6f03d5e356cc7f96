// SPDX-License-Identifier: BSD-2-Clause
//! The effects of a successful command on the layer's records: Names, and the program's
//! sessions.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{self, Command};
use super::crypto::{Hash, Secret, algorithm};
use super::engine::{Engine, LONGEST};
use super::failure::{forged, malformed};
use super::handle_lists;
use super::names::HandleType;
use super::program_sessions::{Audited, Kind, ProgramSession};
use super::session::attribute;
use crate::Result;
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, Handle, Header};

impl Engine {
    /// Updates a session of the program's after a response. `asked` are the attributes
    /// in the program's command: the layer cannot check those in each response.
    pub(super) fn followed(&mut self, handle: u32, asked: u8, nonce: &[u8]) {
        if asked & attribute::CONTINUE_SESSION == 0 {
            self.program_sessions.forget(handle);
        } else if let Some(program_session) = self.program_sessions.get_mut(handle) {
            program_session.nonce_tpm = nonce.to_vec();
            program_session.shown = None;
            program_session.used();
            if asked & attribute::AUDIT != 0 {
                program_session.audited = Audited::ByProgram;
            }
        }
    }

    /// Notes that the TPM has a command in the audit digest of a session of the
    /// program's, and the program does not know it.
    pub(super) fn carried(&mut self, handle: u32) {
        if let Some(program_session) = self.program_sessions.get_mut(handle) {
            program_session.audited = Audited::ByLayer;
        }
    }

    /// Updates a session of the program's that was left out of a command.
    pub(super) fn left_out(&mut self, handle: u32, shown: &[u8], attributes: u8) {
        if attributes & attribute::CONTINUE_SESSION == 0 {
            self.program_sessions.forget(handle);
            self.ended_sessions.push(handle);
        } else if let Some(program_session) = self.program_sessions.get_mut(handle) {
            program_session.shown = Some(shown.to_vec());
        }
    }

    /// Checks that a session which a command started or loaded is not one that is
    /// loaded already. No HMAC covers the handle in a response: under the handle of
    /// another session, that one would lose its protection.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`](crate::ErrorKind::IoError) otherwise.
    pub(super) fn check_new_session(&self, command: &Command, handle: Option<u32>) -> Result<()> {
        let makes = matches!(
            command.code,
            CommandCode::START_AUTH_SESSION | CommandCode::CONTEXT_LOAD
        );
        match handle.filter(|handle| makes && self.is_loaded_session(*handle)) {
            Some(handle) => Err(forged(&format!(
                "the response to {} has the handle {handle:08x} of another session that is \
                 loaded (open the TPM anew if it was reset)",
                command.code
            ))),
            None => Ok(()),
        }
    }

    fn is_loaded_session(&self, handle: u32) -> bool {
        HandleType::of(handle) == HandleType::Session && self.program_sessions.has_number_of(handle)
    }

    /// Notes what a command changed. `parameters` are the response's, as the
    /// program will see them; `hidden` means that the first one is encrypted for
    /// the program.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`](crate::ErrorKind::IoError) for a saved session to which
    /// the layer cannot append what it knows.
    pub(super) fn took_effect(
        &mut self,
        command: &Command,
        handle: Option<u32>,
        parameters: &mut Secret,
        hidden: bool,
    ) -> Result<()> {
        match command.code {
            CommandCode::STARTUP => self.forget(),
            CommandCode::CLEAR
            | CommandCode::CHANGE_PPS
            | CommandCode::CHANGE_EPS
            | CommandCode::HIERARCHY_CONTROL => {
                self.names.clear();
            }
            CommandCode::NV_GLOBAL_WRITE_LOCK => self.names.forget_all(HandleType::NvIndex),
            CommandCode::NV_DEFINE_SPACE | CommandCode::NV_DEFINE_SPACE2 => {
                self.names.forget_all(HandleType::NvIndex);
            }
            CommandCode::NV_UNDEFINE_SPACE
            | CommandCode::NV_UNDEFINE_SPACE_SPECIAL
            | CommandCode::NV_WRITE_LOCK
            | CommandCode::NV_READ_LOCK => self.each_index(command, Self::forget_name),
            CommandCode::NV_WRITE
            | CommandCode::NV_INCREMENT
            | CommandCode::NV_EXTEND
            | CommandCode::NV_SET_BITS => {
                self.each_index(command, |engine, index| engine.names.written(index));
            }
            CommandCode::EVICT_CONTROL => {
                if let Some(persistent) = Cursor::new(&command.parameters, 0).u32() {
                    self.names.forget(persistent);
                }
            }
            CommandCode::SEQUENCE_COMPLETE | CommandCode::EVENT_SEQUENCE_COMPLETE => {
                if let Some(sequence) = command.handles.last() {
                    self.names.forget(*sequence);
                }
            }
            CommandCode::FLUSH_CONTEXT => {
                if let Some(flushed) = Cursor::new(&command.parameters, 0).u32() {
                    self.names.forget(flushed);
                    self.program_sessions.forget(flushed);
                }
            }
            CommandCode::CONTEXT_SAVE => self.saved(command, parameters)?,
            CommandCode::GET_CAPABILITY => self.hide_sessions(command, parameters),
            CommandCode::START_AUTH_SESSION => self.started(command, handle, parameters, hidden),
            _ => {
                self.policy(command);
                if let (CommandCode::CONTEXT_LOAD, Some(handle)) = (command.code, handle) {
                    self.program_sessions.forget(handle);
                    self.names.loaded(handle, &command.parameters);
                } else if let Some(handle) = handle {
                    self.made(command.code, handle, parameters, hidden);
                }
            }
        }
        Ok(())
    }

    fn forget_name(&mut self, handle: u32) {
        self.names.forget(handle);
    }

    fn each_index(&mut self, command: &Command, change: impl Fn(&mut Self, u32)) {
        for handle in &command.handles {
            if HandleType::of(*handle) == HandleType::NvIndex {
                change(self, *handle);
            }
        }
    }

    /// Keeps the Name of an object that a command made or loaded.
    fn made(&mut self, code: CommandCode, handle: u32, parameters: &[u8], hidden: bool) {
        let mut reader = Cursor::new(parameters, 0);
        let name = match code {
            CommandCode::LOAD | CommandCode::LOAD_EXTERNAL if !hidden => reader.sized(),
            CommandCode::CREATE_LOADED => {
                reader.sized();
                reader.sized();
                reader.sized()
            }
            CommandCode::CREATE_PRIMARY => primary_name(&mut reader),
            CommandCode::HASH_SEQUENCE_START | CommandCode::HMAC_START => Some(&[][..]),
            _ => None,
        };
        match name {
            Some(name) => self.names.set(handle, name.to_vec()),
            None => self.names.forget(handle),
        }
    }

    /// Notes a command that passed unchanged. After such a PolicyPassword the TPM
    /// itself asks for the password.
    pub(super) fn passed(&mut self, command: &Command) {
        let session = command.handles.first().copied().unwrap_or_default();
        if let (CommandCode::POLICY_PASSWORD, Some(program_session)) =
            (command.code, self.program_sessions.get_mut(session))
        {
            (program_session.auth_value, program_session.password) = (false, false);
        }
    }

    /// Keeps the properties of a session that the program started.
    fn started(&mut self, command: &Command, handle: Option<u32>, parameters: &[u8], hidden: bool) {
        let Some(handle) = handle else {
            return;
        };
        self.program_sessions.forget(handle);
        // The TPM gives the handle again, so the session that had it is gone.
        self.ended_sessions.retain(|ended| *ended != handle);
        let nonce_tpm = Cursor::new(parameters, 0).sized().filter(|_| !hidden);
        if let (Some(mut program_session), Some(nonce_tpm)) = (asked_for(command), nonce_tpm) {
            program_session.nonce_tpm = nonce_tpm.to_vec();
            self.program_sessions.set(handle, program_session);
        }
    }

    /// Notes the effect of a policy command on its session.
    fn policy(&mut self, command: &Command) {
        let session = match command.code {
            CommandCode::POLICY_SECRET => command.handles.get(1),
            CommandCode::POLICY_SIGNED => command.handles.get(1),
            _ => command.handles.first(),
        };
        let Some(program_session) =
            session.and_then(|handle| self.program_sessions.get_mut(*handle))
        else {
            return;
        };
        // nonceTPM or timeout, then cpHashA.
        let binds = || {
            let mut reader = Cursor::new(&command.parameters, 0);
            reader.sized();
            reader.sized().is_none_or(|digest| !digest.is_empty())
        };
        match command.code {
            CommandCode::POLICY_AUTH_VALUE => {
                (program_session.auth_value, program_session.password) = (true, false)
            }
            CommandCode::POLICY_PASSWORD => {
                let answered_for = program_session.keyless && program_session.hash.is_some();
                (program_session.auth_value, program_session.password) =
                    (answered_for, answered_for);
            }
            CommandCode::POLICY_RESTART => program_session.restart(),
            CommandCode::POLICY_CP_HASH | CommandCode::POLICY_PARAMETERS => {
                program_session.cp_hash = true
            }
            CommandCode::POLICY_COMMAND_CODE => {
                let rewritten = CommandCode::ENCRYPT_DECRYPT.0.to_be_bytes();
                program_session.cp_hash |= command.parameters[..] == rewritten;
            }
            CommandCode::POLICY_SECRET
            | CommandCode::POLICY_SIGNED
            | CommandCode::POLICY_TICKET => {
                program_session.cp_hash |= binds();
            }
            _ => {}
        }
    }

    /// Appends the properties of a session to its saved context, where
    /// [`unwrapped`](Self::unwrapped) finds them, in this process or another.
    ///
    /// # Errors
    /// [`ErrorKind::IoError`](crate::ErrorKind::IoError) for a context that is not of
    /// its form, or so long that nothing can be appended: without the properties, the
    /// session would lose its protection.
    fn saved(&mut self, command: &Command, parameters: &mut Secret) -> Result<()> {
        let Some(handle) = command.handles.first().copied() else {
            return Ok(());
        };
        let name = self.names.get(handle);
        if let (HandleType::Transient, Some(name)) = (HandleType::of(handle), name) {
            self.names.saved(parameters, name);
        }
        let Some(program_session) = self.program_sessions.get(handle).cloned() else {
            return Ok(());
        };
        let mut reader = Cursor::new(parameters, 0);
        let (Some(head), Some(blob), true) = (reader.take(16), reader.sized(), reader.is_at_end())
        else {
            return Err(malformed(command));
        };
        let blob = [blob, &program_session.trailer()].concat();
        if Header::SIZE + 18 + blob.len() > LONGEST {
            return Err(malformed(command));
        }
        self.program_sessions.forget(handle);
        let mut longer = Secret::new(head.to_vec());
        longer.put_sized(&blob);
        *parameters = longer;
        Ok(())
    }

    /// Prepares a command for the TPM: removes the properties that
    /// [`saved`](Self::saved) appended to a session's context, and asks for a list of
    /// sessions that is long enough when the layer's own are hidden. Returns the
    /// command, and these properties.
    pub(super) fn unwrapped(&self, command: &Command) -> (Secret, Option<ProgramSession>) {
        let as_it_is = || (command.bytes.clone(), None);
        if let Some(parameters) = handle_lists::longer(command) {
            let longer = command::plain(CommandCode::GET_CAPABILITY, &parameters);
            return (longer, None);
        }
        if command.code != CommandCode::CONTEXT_LOAD {
            return as_it_is();
        }
        let mut reader = Cursor::new(&command.parameters, 0);
        let (Some(head), Some(blob), true) = (reader.take(16), reader.sized(), reader.is_at_end())
        else {
            return as_it_is();
        };
        let (blob, program_session) = ProgramSession::split(blob);
        let session = matches!(head[8], 0x02 | 0x03);
        match program_session {
            Some(program_session) if session => {
                let mut body = head.to_vec();
                body.put_sized(blob);
                (
                    command::plain(CommandCode::CONTEXT_LOAD, &body),
                    Some(program_session),
                )
            }
            _ => as_it_is(),
        }
    }
}

/// Returns the Name in a CreatePrimary response, which follows outPublic,
/// creationData, creationHash and the ticket.
pub(super) fn primary_name<'a>(reader: &mut Cursor<'a>) -> Option<&'a [u8]> {
    for _ in 0..3 {
        reader.sized()?;
    }
    reader.take(6)?;
    reader.sized()?;
    reader.sized()
}

/// Returns the session that a StartAuthSession asks for.
fn asked_for(command: &Command) -> Option<ProgramSession> {
    let mut reader = Cursor::new(&command.parameters, 0);
    reader.sized()?;
    reader.sized()?;
    let kind = Kind::from_id(reader.u8()?)?;
    let key_bits = match reader.u16()? {
        algorithm::NULL => None,
        algorithm::XOR => {
            reader.u16()?;
            None
        }
        algorithm => {
            let (bits, mode) = (reader.u16()?, reader.u16()?);
            let known = algorithm == algorithm::AES && mode == algorithm::CFB;
            known.then_some(bits)
        }
    };
    let hash = Hash::from_id(reader.u16()?);
    Some(ProgramSession {
        kind,
        hash,
        key_bits,
        keyless: command
            .handles
            .iter()
            .all(|handle| *handle == Handle::NULL.0),
        nonce_tpm: Vec::new(),
        shown: None,
        auth_value: false,
        password: false,
        cp_hash: false,
        audited: Audited::Nothing,
    })
}
