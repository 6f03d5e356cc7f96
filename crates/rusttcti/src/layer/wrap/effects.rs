// SPDX-License-Identifier: BSD-2-Clause
//! What a command that succeeded changes in what the layer knows: Names, and the
//! program's sessions.

#![forbid(unsafe_code)]

use super::bytes::Put;
use super::command::{self, Command, cc};
use super::crypto::{Hash, Secret};
use super::engine::{Engine, LONGEST};
use super::lists;
use super::names::HandleType;
use super::session::attribute;
use super::theirs::{Kind, Their};
use crate::wire::cursor::Cursor;
use crate::wire::header::Header;

impl Engine {
    /// Follows a session of the program's through a response.
    pub(super) fn followed(&mut self, handle: u32, nonce: &[u8], attributes: u8) {
        if attributes & attribute::CONTINUE_SESSION == 0 {
            self.theirs.forget(handle);
        } else if let Some(their) = self.theirs.get_mut(handle) {
            their.nonce_tpm = nonce.to_vec();
            their.shown = None;
        }
    }

    /// Follows a session of the program's that was left out of a command.
    pub(super) fn left_out(&mut self, handle: u32, shown: &[u8], attributes: u8) {
        if attributes & attribute::CONTINUE_SESSION == 0 {
            self.theirs.forget(handle);
            self.stale.push(handle);
        } else if let Some(their) = self.theirs.get_mut(handle) {
            their.shown = Some(shown.to_vec());
        }
    }

    /// Follows what a command changed. `parameters` are those of the response, as
    /// the program will see them; `hidden` says that the first of them is
    /// encrypted for the program.
    pub(super) fn took_effect(
        &mut self,
        command: &Command,
        handle: Option<u32>,
        parameters: &mut Secret,
        hidden: bool,
    ) {
        match command.code {
            cc::STARTUP => self.forget(),
            cc::CLEAR | cc::CHANGE_PPS | cc::CHANGE_EPS | cc::HIERARCHY_CONTROL => {
                self.names.clear();
            }
            cc::NV_GLOBAL_WRITE_LOCK => self.names.forget_all(HandleType::NvIndex),
            cc::NV_DEFINE_SPACE | cc::NV_DEFINE_SPACE_2 => {
                self.names.forget_all(HandleType::NvIndex);
            }
            cc::NV_UNDEFINE_SPACE
            | cc::NV_UNDEFINE_SPACE_SPECIAL
            | cc::NV_WRITE_LOCK
            | cc::NV_READ_LOCK => self.each_index(command, Self::forget_name),
            cc::NV_WRITE | cc::NV_INCREMENT | cc::NV_EXTEND | cc::NV_SET_BITS => {
                self.each_index(command, |engine, index| engine.names.written(index));
            }
            cc::EVICT_CONTROL => {
                if let Some(persistent) = Cursor::new(&command.parameters, 0).u32() {
                    self.names.forget(persistent);
                }
            }
            cc::SEQUENCE_COMPLETE | cc::EVENT_SEQUENCE_COMPLETE => {
                if let Some(sequence) = command.handles.last() {
                    self.names.forget(*sequence);
                }
            }
            cc::FLUSH_CONTEXT => {
                if let Some(flushed) = Cursor::new(&command.parameters, 0).u32() {
                    self.names.forget(flushed);
                    self.theirs.forget(flushed);
                }
            }
            cc::CONTEXT_SAVE => self.saved(command, parameters),
            cc::GET_CAPABILITY => self.hide_sessions(command, parameters),
            cc::START_AUTH_SESSION => self.started(command, handle, parameters, hidden),
            _ => {
                self.policy(command);
                if let (cc::CONTEXT_LOAD, Some(handle)) = (command.code, handle) {
                    self.theirs.forget(handle);
                    self.names.loaded(handle, &command.parameters);
                } else if let Some(handle) = handle {
                    self.made(command.code, handle, parameters, hidden);
                }
            }
        }
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
    fn made(&mut self, code: u32, handle: u32, parameters: &[u8], hidden: bool) {
        let mut reader = Cursor::new(parameters, 0);
        let name = match code {
            cc::LOAD | cc::LOAD_EXTERNAL if !hidden => reader.sized(),
            cc::CREATE_LOADED => {
                reader.sized();
                reader.sized();
                reader.sized()
            }
            cc::CREATE_PRIMARY => primary_name(&mut reader),
            cc::HASH_SEQUENCE_START | cc::HMAC_START => Some(&[][..]),
            _ => None,
        };
        match name {
            Some(name) => self.names.set(handle, name.to_vec()),
            None => self.names.forget(handle),
        }
    }

    /// Follows a command that passed as the program wrote it: a PolicyPassword of
    /// that kind is the TPM's to ask for.
    pub(super) fn passed(&mut self, command: &Command) {
        let session = command.handles.first().copied().unwrap_or_default();
        if let (cc::POLICY_PASSWORD, Some(their)) = (command.code, self.theirs.get_mut(session)) {
            (their.auth_value, their.password) = (false, false);
        }
    }

    /// Keeps what a session of the program's is.
    fn started(&mut self, command: &Command, handle: Option<u32>, parameters: &[u8], hidden: bool) {
        let Some(handle) = handle else {
            return;
        };
        self.theirs.forget(handle);
        let nonce_tpm = Cursor::new(parameters, 0).sized().filter(|_| !hidden);
        if let (Some(mut their), Some(nonce_tpm)) = (asked_for(command), nonce_tpm) {
            their.nonce_tpm = nonce_tpm.to_vec();
            self.theirs.set(handle, their);
        }
    }

    /// Follows what a policy command says of its session.
    fn policy(&mut self, command: &Command) {
        let session = match command.code {
            cc::POLICY_SECRET => command.handles.get(1),
            cc::POLICY_SIGNED => command.handles.get(1),
            _ => command.handles.first(),
        };
        let Some(their) = session.and_then(|handle| self.theirs.get_mut(*handle)) else {
            return;
        };
        // nonceTPM or timeout, then cpHashA.
        let binds = || {
            let mut reader = Cursor::new(&command.parameters, 0);
            reader.sized();
            reader.sized().is_none_or(|digest| !digest.is_empty())
        };
        match command.code {
            cc::POLICY_AUTH_VALUE => (their.auth_value, their.password) = (true, false),
            cc::POLICY_PASSWORD => {
                let answered_for = their.keyless && their.hash.is_some();
                (their.auth_value, their.password) = (answered_for, answered_for);
            }
            cc::POLICY_RESTART => their.restart(),
            cc::POLICY_CP_HASH | cc::POLICY_PARAMETERS => their.cp_hash = true,
            cc::POLICY_SECRET | cc::POLICY_SIGNED | cc::POLICY_TICKET => {
                their.cp_hash |= binds();
            }
            _ => {}
        }
    }

    /// Appends what is known of a session to its saved context, for
    /// [`unwrapped`](Self::unwrapped) to find, in this process or another.
    fn saved(&mut self, command: &Command, parameters: &mut Secret) {
        let Some(handle) = command.handles.first().copied() else {
            return;
        };
        let name = self.names.get(handle);
        if let (HandleType::Transient, Some(name)) = (HandleType::of(handle), name) {
            self.names.saved(parameters, name);
        }
        let Some(their) = self.theirs.get(handle).cloned() else {
            return;
        };
        self.theirs.forget(handle);
        let mut reader = Cursor::new(parameters, 0);
        let (Some(head), Some(blob), true) = (reader.take(16), reader.sized(), reader.is_at_end())
        else {
            return;
        };
        let blob = [blob, &their.trailer()].concat();
        if Header::SIZE + 18 + blob.len() <= LONGEST {
            let mut longer = Secret::new(head.to_vec());
            longer.put_sized(&blob);
            *parameters = longer;
        }
    }

    /// Returns a command as the TPM is to get it, without what
    /// [`saved`](Self::saved) appended to a session's context, and that; and so that a
    /// list of sessions is long enough when the layer's own are hidden.
    pub(super) fn unwrapped(&self, command: &Command) -> (Secret, Option<Their>) {
        let as_it_is = || (command.bytes.clone(), None);
        if let Some(parameters) = lists::longer(command) {
            return (command::plain(cc::GET_CAPABILITY, &parameters), None);
        }
        if command.code != cc::CONTEXT_LOAD {
            return as_it_is();
        }
        let mut reader = Cursor::new(&command.parameters, 0);
        let (Some(head), Some(blob), true) = (reader.take(16), reader.sized(), reader.is_at_end())
        else {
            return as_it_is();
        };
        let (blob, their) = Their::split(blob);
        let session = matches!(head[8], 0x02 | 0x03);
        match their {
            Some(their) if session => {
                let mut body = head.to_vec();
                body.put_sized(blob);
                (command::plain(cc::CONTEXT_LOAD, &body), Some(their))
            }
            _ => as_it_is(),
        }
    }
}

/// The Name in a CreatePrimary response: behind outPublic, creationData,
/// creationHash and the ticket.
pub(super) fn primary_name<'a>(reader: &mut Cursor<'a>) -> Option<&'a [u8]> {
    for _ in 0..3 {
        reader.sized()?;
    }
    reader.take(6)?;
    reader.sized()?;
    reader.sized()
}

/// What a StartAuthSession asks for.
fn asked_for(command: &Command) -> Option<Their> {
    const TPM_RH_NULL: u32 = 0x4000_0007;
    const TPM_ALG_AES: u16 = 0x0006;
    const TPM_ALG_XOR: u16 = 0x000a;
    const TPM_ALG_NULL: u16 = 0x0010;
    const TPM_ALG_CFB: u16 = 0x0043;
    let mut reader = Cursor::new(&command.parameters, 0);
    reader.sized()?;
    reader.sized()?;
    let kind = Kind::from_id(reader.u8()?)?;
    let key_bits = match reader.u16()? {
        TPM_ALG_NULL => None,
        TPM_ALG_XOR => {
            reader.u16()?;
            None
        }
        algorithm => {
            let (bits, mode) = (reader.u16()?, reader.u16()?);
            let known = algorithm == TPM_ALG_AES && mode == TPM_ALG_CFB;
            known.then_some(bits)
        }
    };
    let hash = Hash::from_id(reader.u16()?);
    Some(Their {
        kind,
        hash,
        key_bits,
        keyless: command.handles.iter().all(|handle| *handle == TPM_RH_NULL),
        nonce_tpm: Vec::new(),
        shown: None,
        auth_value: false,
        password: false,
        cp_hash: false,
    })
}
