// SPDX-License-Identifier: BSD-2-Clause
//! The Names of the entities that commands refer to (Part 1, 16): those that are
//! known, and how the others are read. A session's HMAC covers Names instead of
//! handles.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::command::{self, Command, Response};
use super::crypto::{Hash, algorithm};
use super::engine::Engine;
use super::exchange::Channel;
use super::failure::{Flow, Stop, code_of, forged, is_transient_refusal};
use super::key::name_of;
use crate::wire::cursor::Cursor;
use crate::wire::{CommandCode, ResponseCode};

/// The most Names that are kept: more than a TPM has objects and indexes in use.
const MOST: usize = 1024;

/// The type of a handle, by its first byte (TPM_HT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandleType {
    NvIndex,
    Session,
    Transient,
    Persistent,
    /// PCRs, hierarchies and all others: the handle is the Name.
    Fixed,
}

impl HandleType {
    pub(super) fn of(handle: u32) -> Self {
        match handle >> 24 {
            0x01 => Self::NvIndex,
            0x02 | 0x03 => Self::Session,
            0x80 => Self::Transient,
            0x81 => Self::Persistent,
            _ => Self::Fixed,
        }
    }

    /// Returns whether the Name is a digest, which has to be read.
    pub(super) fn has_public_area(self) -> bool {
        matches!(self, Self::NvIndex | Self::Transient | Self::Persistent)
    }
}

/// The Names that are known.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<u32, Known>,
    /// The Names of objects whose contexts were saved, by the contexts' digests.
    saved: HashMap<Vec<u8>, Vec<u8>>,
}

#[derive(Debug)]
struct Known {
    name: Vec<u8>,
    /// Whether writing leaves the Name unchanged: the first write of an NV index
    /// changes it.
    settled: bool,
}

impl Names {
    /// Returns the Name of a handle, if it is known or is the handle itself.
    pub(super) fn get(&self, handle: u32) -> Option<Vec<u8>> {
        if HandleType::of(handle).has_public_area() {
            self.known.get(&handle).map(|known| known.name.clone())
        } else {
            Some(handle.to_be_bytes().to_vec())
        }
    }

    /// Keeps the Name of an object.
    pub(super) fn set(&mut self, handle: u32, name: Vec<u8>) {
        self.set_settled(handle, name, true);
    }

    /// Keeps the Name of an object or an NV index.
    pub(super) fn set_settled(&mut self, handle: u32, name: Vec<u8>, settled: bool) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(handle, Known { name, settled });
    }

    /// Forgets the Name of an NV index that was written for the first time.
    pub(super) fn written(&mut self, handle: u32) {
        if self.known.get(&handle).is_some_and(|known| !known.settled) {
            self.forget(handle);
        }
    }

    /// Keeps the Name of an object whose context was saved.
    pub(super) fn saved(&mut self, context: &[u8], name: Vec<u8>) {
        if self.saved.len() >= MOST {
            self.saved.clear();
        }
        let digest = Hash::Sha256.digest(&[context]);
        self.saved.insert(digest, name);
    }

    /// Finds the Name of an object whose context was loaded. The handle in the
    /// response is not protected, but the context names the object.
    pub(super) fn loaded(&mut self, handle: u32, context: &[u8]) {
        match self.saved.get(&Hash::Sha256.digest(&[context])) {
            Some(name) => self.set(handle, name.clone()),
            None => self.forget(handle),
        }
    }

    pub(super) fn forget(&mut self, handle: u32) {
        self.known.remove(&handle);
    }

    /// Forgets all Names of a type.
    pub(super) fn forget_all(&mut self, kind: HandleType) {
        self.known
            .retain(|handle, _| HandleType::of(*handle) != kind);
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

impl Engine {
    /// Returns the Names of a command's handles; an empty one for a Name that could not
    /// be read.
    pub(super) fn known_names(&self, command: &Command) -> Vec<Vec<u8>> {
        let handles = command.handles.iter();
        handles
            .map(|handle| self.names.get(*handle).unwrap_or_default())
            .collect()
    }

    /// Reads the Names that a command needs and the layer does not know yet.
    pub(super) async fn learn_names(&mut self, command: &Command, channel: &Channel) -> Flow<()> {
        for handle in command.handles.clone() {
            if self.names.get(handle).is_none() {
                self.read_name(handle, channel).await?;
            }
        }
        Ok(())
    }

    /// Reads the Name of an object or an NV index. A failure is ignored: the TPM
    /// refuses an unknown handle before it looks at sessions, and never accepts an
    /// HMAC over a wrong Name.
    async fn read_name(&mut self, handle: u32, channel: &Channel) -> Flow<()> {
        let code = match HandleType::of(handle) {
            HandleType::NvIndex => CommandCode::NV_READ_PUBLIC,
            _ => CommandCode::READ_PUBLIC,
        };
        let response = channel
            .execute(command::plain(code, &handle.to_be_bytes()))
            .await?;
        match code_of(&response)? {
            ResponseCode::SUCCESS => {}
            // Sequence objects have the empty Name.
            ResponseCode::SEQUENCE => {
                self.names.set(handle, Vec::new());
                return Ok(());
            }
            code if is_transient_refusal(code) => return Err(Stop::Answer(code)),
            _ => return Ok(()),
        }
        let name = Response::parse(&response, code, 0)
            .and_then(|response| from_public_response(handle, response.parameters));
        match name {
            Some((name, settled)) => {
                self.names.set_settled(handle, name, settled);
                Ok(())
            }
            None => Err(forged(&format!(
                "the public area of the handle {handle:08x} and its Name do not belong together"
            ))
            .into()),
        }
    }

    /// Reads again the Names that may have changed without the layer's knowledge,
    /// and returns whether one did. A transient object keeps its Name as long as it
    /// is loaded.
    pub(super) async fn refresh_names(
        &mut self,
        command: &Command,
        channel: &Channel,
    ) -> Flow<bool> {
        let mut changed = false;
        for handle in command.handles.clone() {
            let kind = HandleType::of(handle);
            if matches!(kind, HandleType::NvIndex | HandleType::Persistent) {
                let before = self.names.get(handle);
                self.names.forget(handle);
                self.read_name(handle, channel).await?;
                changed |= before != self.names.get(handle);
            }
        }
        Ok(changed)
    }
}

/// Reads the parameters of a ReadPublic or NV_ReadPublic response. Returns the
/// Name, and whether writing leaves it unchanged; `None` if it is not the Name of
/// that public area, or not of this NV index.
pub(super) fn from_public_response(handle: u32, parameters: &[u8]) -> Option<(Vec<u8>, bool)> {
    /// TPMA_NV_WRITTEN.
    const WRITTEN: u32 = 1 << 29;

    let mut reader = Cursor::new(parameters, 0);
    let public = reader.sized()?;
    let name = reader.sized()?;
    let mut area = Cursor::new(public, 0);
    match HandleType::of(handle) {
        HandleType::NvIndex => {
            if area.u32()? != handle {
                return None;
            }
        }
        _ => {
            area.u16()?;
        }
    }
    let name_alg = match area.u16()? {
        // An external object without a Name.
        algorithm::NULL => return name.is_empty().then(|| (Vec::new(), true)),
        id => Hash::from_id(id)?,
    };
    let attributes = area.u32()?;
    let settled = HandleType::of(handle) != HandleType::NvIndex || attributes & WRITTEN != 0;
    (name == name_of(name_alg, public)).then(|| (name.to_vec(), settled))
}
