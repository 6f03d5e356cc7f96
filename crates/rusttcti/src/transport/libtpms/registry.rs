// SPDX-License-Identifier: BSD-2-Clause
//! The state files that this process has open: contexts on one file share one
//! TPM.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::file::{Identity, StateFile};
use super::running_tpm::{Options, RunningTpm, Storage};
use super::shared_tpm::SharedTpm;
use crate::Result;
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::exit::{at_end, before_end};
use crate::sys::fork::PerGeneration;
use crate::sys::locks::Mutex;
use crate::transport::open_log::Opening;

/// The files that are open, or are being opened.
static FILES: PerGeneration<Files> = PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

type Files = Mutex<Vec<(Identity, Arc<Slot>)>>;

/// The TPM of a file, and how many contexts use it. It is locked while the file is
/// opened or closed.
type Slot = Mutex<Option<(Arc<SharedTpm>, usize)>>;

/// A use of a file's TPM.
pub(super) struct FileUse {
    identity: Identity,
    slot: Arc<Slot>,
}

/// Opens a file's TPM, or shares the one that is open.
///
/// # Errors
/// Another process uses the file, or it cannot be used.
pub(super) fn open(path: &Path, options: Options) -> Result<(Arc<SharedTpm>, FileUse)> {
    let opening = Opening::begin();
    at_end(suspend_all);
    let file = StateFile::find(path)?;
    let share = FileUse::new(file.identity()?);
    let mut slot = share.slot.lock();
    let tpm = match &mut *slot {
        Some((tpm, users)) => {
            *users += 1;
            opening.done(|| {
                format!(
                    "libtpms: the TPM of the state file \"{}\", shared with another context",
                    path.display()
                )
            });
            tpm.clone()
        }
        None => {
            let opened = Storage::lock(file).and_then(|mut storage| {
                let state = storage.read()?;
                RunningTpm::open(state.as_deref(), Some(storage), options)
            });
            match opened {
                Ok(running) => {
                    opening.done(|| {
                        let path = path.display();
                        let origin = running.origin();
                        format!("libtpms: the TPM of the state file \"{path}\", {origin}")
                    });
                    let tpm = Arc::new(SharedTpm::new(running));
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

impl FileUse {
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
    pub(super) fn close(self, tpm: &SharedTpm) -> Result<()> {
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

    /// Takes the slot out of the list if no other context uses it.
    fn forget(self) {
        let mut files = FILES.current().lock();
        // One reference of the list and one of this value; others are made only under
        // the list's lock.
        if Arc::strong_count(&self.slot) == 2 && self.slot.lock().is_none() {
            files.retain(|(known, _)| *known != self.identity);
        }
        if files.is_empty() {
            *files = Vec::new();
        }
    }
}

/// The TPMs that have a worker, or had one.
static WORKING: PerGeneration<Mutex<Vec<Weak<SharedTpm>>>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

/// How long the end of the process is delayed at most.
const LONGEST_END: Duration = Duration::from_secs(2);

/// Registers a TPM whose worker was started.
pub(super) fn has_worker(tpm: &Arc<SharedTpm>) {
    // libtpms has set OpenSSL up before, so OpenSSL's own clean-up comes after this.
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

/// Ends all workers, before OpenSSL's clean-up at the end of the process frees
/// what they use.
fn rest_all() {
    let deadline = Deadline::after(Some(LONGEST_END));
    let list = WORKING.current();
    let tpms = retry_until(deadline, || list.try_lock()).map(|mut list| std::mem::take(&mut *list));
    for tpm in tpms.iter().flatten().filter_map(Weak::upgrade) {
        tpm.rest(deadline);
    }
}

/// Suspends the TPMs that were not finalized. Many programs, systemd's among them, free
/// their contexts or just exit. A TPM in hardware stays powered then, so an embedded
/// one does not lose power either.
///
/// A thread that is in a call never returns from it, or its call fails because the TPM
/// is closed.
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
