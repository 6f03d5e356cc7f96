// SPDX-License-Identifier: BSD-2-Clause
//! The objects of all clients: the TPM's handles of those that are loaded, and the
//! contexts of those that were saved.

#![forbid(unsafe_code)]

use std::time::Instant;

/// The number of an object in [`Objects`].
pub(super) type ObjectId = usize;

/// A transient object, which one client knows by a virtual handle.
#[derive(Debug)]
pub(super) struct Object {
    /// The client that it belongs to.
    pub(super) space: usize,
    /// The handle that the client has for it.
    pub(super) handle: u32,
    /// The handle that the TPM has for it while it is loaded.
    real: Option<u32>,
    /// The context that loads it again; empty if none is up to date.
    pub(super) context: Vec<u8>,
    /// Whether commands change it (a sequence object), so that a context is good
    /// only until the next use.
    pub(super) changes: bool,
    /// Whether the TPM refused to save it: it stays loaded.
    pub(super) stays: bool,
    /// The engine's count of uses at its last use.
    pub(super) used: u64,
    /// The time when it was made. An object that is younger than the TPM's last reset
    /// outlives the news of it.
    pub(super) made: Instant,
}

impl Object {
    /// Makes the entry of a loaded object that was just made.
    pub(super) fn new(space: usize, handle: u32, changes: bool, used: u64) -> Self {
        Self {
            space,
            handle,
            real: None,
            context: Vec::new(),
            changes,
            stays: false,
            used,
            made: Instant::now(),
        }
    }

    /// Returns the TPM's handle, while it is loaded.
    pub(super) fn real(&self) -> Option<u32> {
        self.real
    }

    /// Returns the hierarchy that its context names.
    pub(super) fn hierarchy(&self) -> Option<u32> {
        super::saved_context::hierarchy_of(&self.context)
    }
}

/// All objects, and the short list of those that are loaded.
#[derive(Debug, Default)]
pub(super) struct Objects {
    places: Vec<Option<Object>>,
    free: Vec<ObjectId>,
    loaded: Vec<ObjectId>,
}

impl Objects {
    /// Adds an object, which is not loaded.
    pub(super) fn insert(&mut self, object: Object) -> ObjectId {
        match self.free.pop() {
            Some(id) => {
                self.places[id] = Some(object);
                id
            }
            None => {
                self.places.push(Some(object));
                self.places.len() - 1
            }
        }
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, id: ObjectId) -> Option<Object> {
        let object = self.places.get_mut(id)?.take()?;
        self.loaded.retain(|other| *other != id);
        self.free.push(id);
        Some(object)
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<&Object> {
        self.places.get(id)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.places.get_mut(id)?.as_mut()
    }

    /// Sets the TPM's handle of an object; `None` if it is not loaded.
    pub(super) fn set_real(&mut self, id: ObjectId, real: Option<u32>) {
        let Some(object) = self.get_mut(id) else {
            return;
        };
        object.real = real;
        self.loaded.retain(|other| *other != id);
        if real.is_some() {
            self.loaded.push(id);
        }
    }

    /// Returns the loaded objects.
    pub(super) fn loaded(&self) -> &[ObjectId] {
        &self.loaded
    }

    /// Returns the object that is loaded at this handle of the TPM's.
    pub(super) fn at(&self, real: u32) -> Option<ObjectId> {
        let is_there = |id: &&ObjectId| self.get(**id).is_some_and(|o| o.real == Some(real));
        self.loaded.iter().find(is_there).copied()
    }

    /// Returns the numbers of all objects.
    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectId> + '_ {
        let places = self.places.iter().enumerate();
        places.filter_map(|(id, object)| object.as_ref().map(|_| id))
    }

    /// Returns the least recently used of the loaded objects for which `may_go` is
    /// true.
    pub(super) fn least_recent(
        &self,
        may_go: impl Fn(ObjectId, &Object) -> bool,
    ) -> Option<ObjectId> {
        let loaded = self.loaded.iter().copied();
        let candidates = loaded.filter_map(|id| self.get(id).map(|object| (id, object)));
        let candidates = candidates.filter(|(id, object)| !object.stays && may_go(*id, object));
        candidates
            .min_by_key(|(_, object)| object.used)
            .map(|(id, _)| id)
    }
}
