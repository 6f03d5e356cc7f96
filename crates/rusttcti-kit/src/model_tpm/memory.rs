// SPDX-License-Identifier: BSD-2-Clause
//! The memory of a model TPM for objects and sessions, and the rules for contexts.

use rusttcti::wire::ResponseCode as Rc;

/// The capacities of a model TPM.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How many objects may be loaded.
    pub objects: usize,
    /// How many sessions may be loaded.
    pub sessions: usize,
    /// How many sessions may be active.
    pub active: usize,
    /// How far the counts of saved sessions may differ.
    pub gap: u64,
}

impl Sizes {
    /// The capacities of a common TPM, except for a gap that is reached soon.
    pub const SMALL: Self = Self {
        objects: 3,
        sessions: 3,
        active: 64,
        gap: 0xff,
    };
    /// Capacities beyond the need of any test.
    pub const UNLIMITED: Self = Self {
        objects: 4096,
        sessions: 4096,
        active: 4096,
        gap: u64::MAX,
    };
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) hierarchy: u32,
    pub(super) seed: u8,
    /// The data that a sequence has collected; `None` for a key.
    pub(super) data: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) is_policy: bool,
    pub(super) data: Vec<u8>,
    /// The count under which it was saved; `None` while it is loaded.
    saved: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) sizes: Sizes,
    pub(super) objects: Vec<Option<Object>>,
    pub(super) sessions: Vec<Option<Session>>,
    counter: u64,
    /// The epoch of each hierarchy, which changes when the hierarchy's contexts end.
    epochs: Vec<(u32, u32)>,
    pub(super) disabled: Vec<u32>,
    pub(super) resets: u32,
}

const FIRST_OBJECT: u32 = 0x8000_0000;
const SEQUENCE: u32 = 0x8000_0001;

impl Memory {
    pub(super) fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            objects: Vec::new(),
            sessions: Vec::new(),
            counter: 1,
            epochs: Vec::new(),
            disabled: Vec::new(),
            resets: 0,
        }
    }

    pub(super) fn restart(&mut self) {
        self.objects.clear();
        self.sessions.clear();
        self.counter = 1;
        self.resets += 1;
        self.disabled.clear();
    }

    pub(super) fn loaded(&self) -> (usize, usize) {
        (
            self.objects.iter().flatten().count(),
            self.loaded_sessions(),
        )
    }

    fn loaded_sessions(&self) -> usize {
        self.sessions
            .iter()
            .flatten()
            .filter(|session| session.saved.is_none())
            .count()
    }

    pub(super) fn active(&self) -> usize {
        self.sessions.iter().flatten().count()
    }

    fn epoch(&self, hierarchy: u32) -> u32 {
        self.epochs
            .iter()
            .find(|(of, _)| *of == hierarchy)
            .map_or(0, |(_, epoch)| *epoch)
    }

    /// Flushes the objects of a hierarchy.
    pub(super) fn flush_hierarchy(&mut self, hierarchy: u32) {
        for place in &mut self.objects {
            if place
                .as_ref()
                .is_some_and(|object| object.hierarchy == hierarchy)
            {
                *place = None;
            }
        }
    }

    /// Flushes the objects of a hierarchy and ends its contexts.
    pub(super) fn clear_hierarchy(&mut self, hierarchy: u32) {
        self.flush_hierarchy(hierarchy);
        let epoch = self.epoch(hierarchy) + 1;
        self.epochs.retain(|(of, _)| *of != hierarchy);
        self.epochs.push((hierarchy, epoch));
    }

    pub(super) fn add_object(&mut self, object: Object) -> Result<u32, Rc> {
        let at = place_for(&mut self.objects, self.sizes.objects).ok_or(Rc::OBJECT_MEMORY)?;
        self.objects[at] = Some(object);
        Ok(FIRST_OBJECT + at as u32)
    }

    pub(super) fn object(&mut self, handle: u32) -> Option<&mut Object> {
        let at = handle.checked_sub(FIRST_OBJECT)? as usize;
        self.objects.get_mut(at)?.as_mut()
    }

    pub(super) fn remove_object(&mut self, handle: u32) -> bool {
        let at = handle.wrapping_sub(FIRST_OBJECT) as usize;
        self.objects
            .get_mut(at)
            .is_some_and(|place| place.take().is_some())
    }

    pub(super) fn add_session(&mut self, is_policy: bool) -> Result<u32, Rc> {
        if self.loaded_sessions() >= self.sizes.sessions {
            return Err(Rc::SESSION_MEMORY);
        }
        if self.active() >= self.sizes.active {
            return Err(Rc::SESSION_HANDLES);
        }
        let at = place_for(&mut self.sessions, self.sizes.active).ok_or(Rc::SESSION_HANDLES)?;
        self.sessions[at] = Some(Session {
            is_policy,
            data: Vec::new(),
            saved: None,
        });
        Ok(session_handle(is_policy, at))
    }

    /// Returns a loaded session.
    pub(super) fn session(&mut self, handle: u32) -> Option<&mut Session> {
        let session = self.sessions.get_mut(number(handle))?.as_mut()?;
        (session.saved.is_none() && session.is_policy == (handle >> 24 == 3)).then_some(session)
    }

    pub(super) fn remove_session(&mut self, handle: u32) -> bool {
        self.sessions
            .get_mut(number(handle))
            .is_some_and(|place| place.take().is_some())
    }

    fn oldest(&self) -> Option<u64> {
        self.sessions
            .iter()
            .flatten()
            .filter_map(|session| session.saved)
            .min()
    }

    /// Returns whether the count is as far from the oldest saved session as it may be.
    fn is_gap_full(&self) -> bool {
        self.oldest()
            .is_some_and(|oldest| self.counter - oldest >= self.sizes.gap)
    }

    /// Saves an object or a session, and returns a TPMS_CONTEXT.
    pub(super) fn save(&mut self, handle: u32) -> Result<Vec<u8>, Rc> {
        if let Some(object) = self.object(handle).cloned() {
            let (kind, data) = match &object.data {
                None => (FIRST_OBJECT, &[][..]),
                Some(data) => (SEQUENCE, &data[..]),
            };
            let epoch = self.epoch(object.hierarchy);
            let inside = [
                &epoch.to_be_bytes()[..],
                &self.resets.to_be_bytes(),
                &[object.seed],
                data,
            ];
            return Ok(context(0, kind, object.hierarchy, &inside.concat()));
        }
        if self.session(handle).is_none() {
            return Err(Rc::REFERENCE_H0);
        }
        if self.is_gap_full() {
            return Err(Rc::CONTEXT_GAP);
        }
        let (counter, resets) = (self.counter, self.resets);
        self.counter += 1;
        let session = self.session(handle).ok_or(Rc::REFERENCE_H0)?;
        session.saved = Some(counter);
        let inside = [&resets.to_be_bytes()[..], &session.data].concat();
        Ok(context(counter, handle, 0x4000_0007, &inside))
    }

    /// Loads a context that `save` returned.
    pub(super) fn load(&mut self, context: &[u8]) -> Result<u32, Rc> {
        const INTEGRITY_P1: Rc = Rc(0x1df);
        const HANDLE_P1: Rc = Rc(0x1cb);
        const SIZE_P1: Rc = Rc(0x1d5);
        if context.len() < 18 || word(context, 16) >> 16 != context.len() as u32 - 18 {
            return Err(SIZE_P1);
        }
        let order = u64::from(word(context, 0)) << 32 | u64::from(word(context, 4));
        let (saved, hierarchy, inside) = (word(context, 8), word(context, 12), &context[18..]);
        match saved >> 24 {
            0x80 if inside.len() >= 9 => {
                if word(inside, 0) != self.epoch(hierarchy) || word(inside, 4) != self.resets {
                    return Err(INTEGRITY_P1);
                }
                if self.disabled.contains(&hierarchy) {
                    return Err(Rc::HIERARCHY);
                }
                let data = (saved == SEQUENCE).then(|| inside[9..].to_vec());
                self.add_object(Object {
                    hierarchy,
                    seed: inside[8],
                    data,
                })
            }
            2 | 3 if inside.len() >= 4 => {
                if word(inside, 0) != self.resets {
                    return Err(INTEGRITY_P1);
                }
                self.load_session(saved, order).ok_or(HANDLE_P1)?
            }
            _ => Err(HANDLE_P1),
        }
    }

    fn load_session(&mut self, handle: u32, order: u64) -> Option<Result<u32, Rc>> {
        let (loaded, sizes, full, oldest) = (
            self.loaded_sessions(),
            self.sizes,
            self.is_gap_full(),
            self.oldest(),
        );
        let session = self.sessions.get_mut(number(handle))?.as_mut()?;
        if session.saved != Some(order) || session.is_policy != (handle >> 24 == 3) {
            return None;
        }
        if loaded >= sizes.sessions {
            return Some(Err(Rc::SESSION_MEMORY));
        }
        // The last place is reserved for the oldest session.
        if full && loaded + 1 == sizes.sessions && oldest != Some(order) {
            return Some(Err(Rc::CONTEXT_GAP));
        }
        session.saved = None;
        Some(Ok(handle))
    }

    /// Returns the handles of a range, in order.
    pub(super) fn handles(&self, first: u32) -> Vec<u32> {
        let list = |is_wanted: &dyn Fn(&Session) -> bool,
                    handle: &dyn Fn(&Session, usize) -> u32| {
            let all = self.sessions.iter().enumerate().skip(number(first));
            all.filter_map(|(at, place)| place.as_ref().map(|session| (at, session)))
                .filter(|(_, session)| is_wanted(session))
                .map(|(at, session)| handle(session, at))
                .collect()
        };
        match first >> 24 {
            2 => list(&|s| s.saved.is_none(), &|s, at| {
                session_handle(s.is_policy, at)
            }),
            3 => list(&|s| s.saved.is_some(), &|_, at| session_handle(false, at)),
            0x80 => {
                let all = self.objects.iter().enumerate().skip(number(first));
                all.filter(|(_, place)| place.is_some())
                    .map(|(at, _)| FIRST_OBJECT + at as u32)
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

fn session_handle(is_policy: bool, at: usize) -> u32 {
    (2 + u32::from(is_policy)) << 24 | at as u32
}

fn number(handle: u32) -> usize {
    (handle & 0xff_ffff) as usize
}

fn place_for<T>(places: &mut Vec<Option<T>>, most: usize) -> Option<usize> {
    if let Some(at) = places.iter().position(Option::is_none) {
        return Some(at);
    }
    (places.len() < most).then(|| {
        places.push(None);
        places.len() - 1
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u32::from_be_bytes(*word))
}

fn context(order: u64, saved: u32, hierarchy: u32, inside: &[u8]) -> Vec<u8> {
    [
        &order.to_be_bytes()[..],
        &saved.to_be_bytes(),
        &hierarchy.to_be_bytes(),
        &(inside.len() as u16).to_be_bytes(),
        inside,
    ]
    .concat()
}
