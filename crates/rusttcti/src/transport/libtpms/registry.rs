// SPDX-License-Identifier: BSD-2-Clause
//! The state files that this process has open: contexts on one file share one
//! TPM.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::core::{Core, Startup, Storage};
use super::file::{Identity, Place};
use super::tpm::Tpm;
use crate::Result;
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::exit::{at_end, before_end};
use crate::sys::fork::PerGeneration;
use crate::sys::locks::Mutex;

/// The files that are open or about to be.
static FILES: PerGeneration<Mutex<Vec<(Identity, Arc<Slot>)>>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

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
pub(super) fn open(path: &Path, startup: Startup) -> Result<(Arc<Tpm>, Share)> {
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
                Core::open(state.as_deref(), Some(storage), startup)
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
        let mut files = FILES.current().lock();
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
        let mut files = FILES.current().lock();
        // One in the list, and ours; more are only made under the list's lock.
        if Arc::strong_count(&self.slot) == 2 && self.slot.lock().is_none() {
            files.retain(|(known, _)| *known != self.identity);
        }
        if files.is_empty() {
            *files = Vec::new();
        }
    }
}

/// The TPMs that have a worker, or had one.
static WORKING: PerGeneration<Mutex<Vec<Weak<Tpm>>>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

/// How long the end of the process is put off at most.
const LONGEST_END: Duration = Duration::from_secs(2);

/// To be called when a TPM's worker is started.
pub(super) fn has_worker(tpm: &Arc<Tpm>) {
    // libtpms has long set OpenSSL up, whose own clean-up thus comes after this.
    before_end(rest_all);
    let mut working = WORKING.current().lock();
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
    let deadline = Deadline::after(Some(LONGEST_END));
    let list = WORKING.current();
    let tpms = retry_until(deadline, || list.try_lock()).map(|mut list| std::mem::take(&mut *list));
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
    let deadline = Deadline::after(Some(LONGEST_END));
    let list = FILES.current();
    let Some(files) = retry_until(deadline, || list.try_lock()) else {
        return;
    };
    let slots: Vec<_> = files.iter().map(|(_, slot)| slot.clone()).collect();
    drop(files);
    for slot in slots {
        let Some(mut slot) = retry_until(deadline, || slot.try_lock()) else {
            continue;
        };
        if let Some((tpm, _)) = slot.take() {
            if let Err(error) = tpm.end(deadline) {
                crate::sys::log::error!("libtpms: {}", error.report());
            }
        }
    }
}
