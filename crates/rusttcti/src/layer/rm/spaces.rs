// SPDX-License-Identifier: BSD-2-Clause
//! The handle space of each client: the virtual handles of its objects, and the TPM's
//! handles that were loaded when the client was opened.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::objects::ObjectId;

/// The first virtual handle. It is far from the handles of TPMs (0x80000000 and up)
/// and of the kernel's resource manager (0x80ffffff and down), so none is mistaken
/// for another.
pub(super) const FIRST: u32 = 0x8010_0000;
/// The end of the virtual handles: the first one behind them.
const END: u32 = 0x80f0_0000;

/// The meaning of a client's virtual handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// None: it may be given to an object.
    Free,
    Object(ObjectId),
    /// An object that was lost. The handle is given to no other object.
    Lost,
}

/// The handles of one client.
#[derive(Debug, Default)]
pub(super) struct Space {
    meanings: Vec<Meaning>,
    free: BinaryHeap<Reverse<u32>>,
    /// The TPM's handles that were loaded when the client was opened, or that it
    /// made sticky. They are not translated.
    pub(super) foreign: Vec<u32>,
}

impl Space {
    /// Returns the object that a virtual handle means.
    pub(super) fn object(&self, handle: u32) -> Option<ObjectId> {
        let at = handle.checked_sub(FIRST)? as usize;
        match self.meanings.get(at)? {
            Meaning::Object(id) => Some(*id),
            _ => None,
        }
    }

    /// Returns the virtual handle that the next object gets: the lowest free one.
    pub(super) fn next(&self) -> Option<u32> {
        let fresh = FIRST + self.meanings.len() as u32;
        match self.free.peek() {
            Some(Reverse(handle)) => Some(*handle),
            None => (fresh < END).then_some(fresh),
        }
    }

    /// Gives [`next`](Self::next) to an object.
    pub(super) fn give(&mut self, id: ObjectId) -> Option<u32> {
        let handle = self.next()?;
        match self.free.pop() {
            Some(_) => self.set(handle, Meaning::Object(id)),
            None => self.meanings.push(Meaning::Object(id)),
        }
        Some(handle)
    }

    /// Ends the meaning of a handle that the client flushed.
    pub(super) fn take_back(&mut self, handle: u32) {
        self.set(handle, Meaning::Free);
        self.free.push(Reverse(handle));
    }

    /// Ends the meaning of a handle whose object was lost.
    pub(super) fn lose(&mut self, handle: u32) {
        self.set(handle, Meaning::Lost);
    }

    fn set(&mut self, handle: u32, meaning: Meaning) {
        let at = handle.wrapping_sub(FIRST) as usize;
        if let Some(place) = self.meanings.get_mut(at) {
            *place = meaning;
        }
    }

    /// Returns the client's objects, by their handles.
    pub(super) fn objects(&self) -> impl Iterator<Item = (u32, ObjectId)> + '_ {
        let meanings = (FIRST..).zip(&self.meanings);
        meanings.filter_map(|(handle, meaning)| match meaning {
            Meaning::Object(id) => Some((handle, *id)),
            _ => None,
        })
    }
}
