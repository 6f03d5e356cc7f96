// SPDX-License-Identifier: BSD-2-Clause
//! The state files that this process has open: contexts on one file share one
//! TPM.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::core::{Core, Options, Storage};
use super::file::{Identity, Place};
use super::tpm::Tpm;
use crate::Result;
use crate::sys::exit::{at_end, before_end, patiently};
use crate::sys::fork;
use crate::sys::locks::Mutex;

/// A list for each generation of forked children: a child must not wait for a
/// lock that a thread of its parent held at the time of the fork. (The 65th
/// generation meets the first one's.)
static FILES: [Files; 64] = [const { Mutex::new(Vec::new()) }; 64];

/// The files that are open or about to be.
type Files = Mutex<Vec<(Identity, Arc<Slot>)>>;

/// The TPM of a file, and how many use it. It is locked while the file is
/// opened or closed, so that others wait for that.
type Slot = Mutex<Option<(Arc<Tpm>, usize)>>;

/// A use of a file's TPM.
pub(super) struct Share {
    identity: Identity,
    slot: Arc<Slot>,
}

/// Opens a file's TPM, or shares the one that is open.
///
/// # Errors
/// The file is another process's, or cannot be used.
pub(super) fn open(path: &Path, options: Options) -> Result<(Arc<Tpm>, Share)> {
    at_end(suspend_all);
    let place = Place::find(path)?;
    let share = Share::new(place.identity()?);
    let mut slot = share.slot.lock();
    let tpm = match &mut *slot {
        Some((tpm, users)) => {
            *users += 1;
            tpm.clone()
        }
        None => {
            let opened = Storage::lock(place).and_then(|mut storage| {
                let state = storage.read()?;
                Core::open(state.as_deref(), Some(storage), options)
            });
            match opened {
                Ok(core) => {
                    let tpm = Arc::new(Tpm::new(core));
                    *slot = Some((tpm.clone(), 1));
                    tpm
                }
                Err(error) => {
                    drop(slot);
                    share.forget();
                    return Err(error);
                }
            }
        }
    };
    drop(slot);
    Ok((tpm, share))
}

impl Share {
    fn new(identity: Identity) -> Self {
        let mut files = files().lock();
        let known = files.iter().find(|(known, _)| *known == identity);
        let slot = match known {
            Some((_, slot)) => slot.clone(),
            None => {
                let slot = Arc::<Slot>::default();
                files.push((identity.clone(), slot.clone()));
                slot
            }
        };
        Self { identity, slot }
    }

    /// Ends this use of the TPM; the last one suspends it.
    pub(super) fn close(self, tpm: &Tpm) -> Result<()> {
        let mut slot = self.slot.lock();
        let result = match slot.take() {
            Some((shared, users)) if users > 1 => {
                *slot = Some((shared, users - 1));
                Ok(())
            }
            shared => {
                drop(shared);
                tpm.close()
            }
        };
        drop(slot);
        self.forget();
        result
    }

    /// Takes the slot out of the list if nobody else has it.
    fn forget(self) {
        let mut files = files().lock();
        // One in the list, and ours; more are only made under the list's lock.
        if Arc::strong_count(&self.slot) == 2 && self.slot.lock().is_none() {
            files.retain(|(known, _)| *known != self.identity);
        }
        if files.is_empty() {
            *files = Vec::new();
        }
    }
}

fn files() -> &'static Files {
    &FILES[place(fork::generation())]
}

/// The TPMs that have a worker, or had one; a list for each generation.
static WORKING: [Mutex<Vec<Weak<Tpm>>>; 64] = [const { Mutex::new(Vec::new()) }; 64];

/// How long the end of the process is put off at most.
const LONGEST_END: Duration = Duration::from_secs(2);

/// To be called when a TPM's worker is started.
pub(super) fn has_worker(tpm: &Arc<Tpm>) {
    // libtpms has long set OpenSSL up, whose own clean-up thus comes after this.
    before_end(rest_all);
    let mut working = WORKING[place(fork::generation())].lock();
    working.retain(|other| other.strong_count() > 0);
    if !working
        .iter()
        .any(|other| other.as_ptr() == Arc::as_ptr(tpm))
    {
        working.push(Arc::downgrade(tpm));
    }
}

/// Ends all workers, which OpenSSL's clean-up at the end of the process would
/// pull the rug from under.
fn rest_all() {
    let deadline = Instant::now() + LONGEST_END;
    let list = &WORKING[place(fork::current())];
    let tpms = patiently(deadline, || list.try_lock()).map(|mut list| std::mem::take(&mut *list));
    for tpm in tpms.iter().flatten().filter_map(Weak::upgrade) {
        tpm.rest(deadline);
    }
}

/// Suspends the TPMs that nobody finalized: many a program, systemd's among
/// them, frees its contexts or just exits. A TPM in hardware stays on then, so
/// that is no power loss here.
///
/// Whoever is within a call now never gets out of it, or finds its TPM closed.
fn suspend_all() {
    let deadline = Instant::now() + LONGEST_END;
    let list = &FILES[place(fork::current())];
    let Some(files) = patiently(deadline, || list.try_lock()) else {
        return;
    };
    let slots: Vec<_> = files.iter().map(|(_, slot)| slot.clone()).collect();
    drop(files);
    for slot in slots {
        let Some(mut slot) = patiently(deadline, || slot.try_lock()) else {
            continue;
        };
        if let Some((tpm, _)) = slot.take() {
            if let Err(error) = tpm.end(deadline) {
                crate::sys::log::error!("libtpms: {}", error.report());
            }
        }
    }
}

/// A generation's place in the lists.
fn place(generation: u64) -> usize {
    (generation % 64) as usize
}
