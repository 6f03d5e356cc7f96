// SPDX-License-Identifier: BSD-2-Clause
//! A TPM that several contexts may share, and its worker: the thread that runs long
//! commands.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use super::ffi::Canceller;
use super::ffi::openssl::ContextGuard;
use super::mailbox::Mailbox;
use super::registry;
use super::running_tpm::RunningTpm;
use crate::sys::deadline::{Deadline, retry_until};
use crate::sys::locks::Mutex;
use crate::sys::locks::exclusive::{Exclusive, KeptGuard};
use crate::sys::threads::Thread;
use crate::{Error, ErrorKind, Result};

/// `TPM_RC_CANCELED`, as a response.
const CANCELED: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x09];
/// The size of the worker's stack. libtpms and OpenSSL used 20 KB of it in tests;
/// unused pages take no memory.
const STACK: usize = 512 << 10;
/// How often a short command tries to get a TPM that is busy with another
/// context's short command, before it is queued.
const ATTEMPTS: usize = 50;
/// How long after a command's beginning libtpms may lose a cancel.
const CANCEL_IS_LOST: Duration = Duration::from_millis(1);

/// A TPM that several contexts may use.
pub(super) struct SharedTpm {
    /// `None` once it is closed.
    tpm: Arc<Exclusive<Option<RunningTpm>>>,
    queue: Mutex<Queue>,
    /// The process that opened it.
    process: u32,
    /// How many jobs wait in the queue.
    queued: AtomicUsize,
    /// Signalled when the queue changes.
    wake: Condvar,
    canceller: Canceller,
    /// The OpenSSL context, which the worker needs at its end, when another thread may
    /// hold the TPM.
    openssl: Option<ContextGuard>,
}

/// A TPM that one context keeps to itself between its commands.
pub(super) type KeptTpm = KeptGuard<Option<RunningTpm>>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    running: Option<Running>,
    /// Started with the first job.
    worker: Option<Thread>,
    /// Whether the worker ends when nothing is left to do.
    resting: bool,
}

/// A command for the worker.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) command: Arc<[u8]>,
    pub(super) locality: u8,
    pub(super) cancelled: bool,
}

struct Running {
    mailbox: Arc<Mailbox>,
    since: Instant,
}

/// Tries several times to get a TPM: another context's short command may be about to
/// end.
fn attempt<T>(get: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..ATTEMPTS {
        if let Some(got) = get() {
            return Some(got);
        }
        yield_now();
    }
    None
}

#[cold]
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::BadSequence, "the TPM was closed")
}

impl SharedTpm {
    pub(super) fn new(tpm: RunningTpm) -> Self {
        Self {
            canceller: tpm.canceller(),
            openssl: tpm.openssl(),
            tpm: Arc::new(Exclusive::new(Some(tpm))),
            queue: Mutex::default(),
            process: std::process::id(),
            queued: AtomicUsize::new(0),
            wake: Condvar::new(),
        }
    }

    /// Calls the TPM, when no other context does.
    pub(super) fn with<T>(&self, call: impl FnOnce(&mut RunningTpm) -> Result<T>) -> Result<T> {
        self.tpm.lock().as_mut().map_or_else(|| Err(closed()), call)
    }

    /// Calls the TPM. Returns `None` while it is busy, or while the worker waits for
    /// it: otherwise short commands without a gap would keep the worker out.
    pub(super) fn try_with<T>(
        &self,
        call: impl FnOnce(&mut RunningTpm) -> Result<T>,
    ) -> Option<Result<T>> {
        if self.queued.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let mut tpm = attempt(|| self.tpm.try_lock())?;
        Some(tpm.as_mut().map_or_else(|| Err(closed()), call))
    }

    /// Returns the TPM, which no other context can call until this is dropped;
    /// `None` while it is busy.
    pub(super) fn try_keep(&self) -> Option<KeptTpm> {
        attempt(|| self.tpm.try_keep())
    }

    /// Gives a command to the worker, which puts the response into the job's mailbox.
    /// Returns false, and does nothing, if no thread can be started.
    pub(super) fn send(self: &Arc<Self>, job: Job) -> bool {
        let mut queue = self.queue.lock();
        if queue.worker.is_none() {
            let tpm = self.clone();
            match Thread::spawn(STACK, move || tpm.work()) {
                Ok(worker) => queue.worker = Some(worker),
                Err(error) => {
                    crate::sys::log::warning!(
                        "libtpms: a long command keeps its caller waiting, \
                         because no thread can be started for it: {error}"
                    );
                    return false;
                }
            }
            registry::has_worker(self);
        }
        job.mailbox.expect();
        queue.waiting.push_back(job);
        self.queued.store(queue.waiting.len(), Ordering::Relaxed);
        self.wake.notify_one();
        true
    }

    /// Runs one job after the other until the TPM is closed, on the worker.
    fn work(&self) {
        ContextGuard::join();
        while let Some(job) = self.next() {
            let mut tpm = self.tpm.lock();
            let response = match self.begin(&job) {
                false => Ok(&CANCELED[..]),
                true => match tpm.as_mut() {
                    Some(tpm) => tpm
                        .process(&job.command, job.locality)
                        .map(|()| tpm.response()),
                    None => Err(closed()),
                },
            };
            // While the TPM is held, so that a later cancel does not cancel the next
            // command.
            self.queue.lock().running = None;
            job.mailbox.deliver(response);
        }
        if let Some(openssl) = &self.openssl {
            openssl.leave();
        }
    }

    /// Waits for the next job; it stays in the queue, where a cancel finds it.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.waiting.front() {
                return Some(job.clone());
            }
            if queue.resting {
                return None;
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the job out of the queue. Returns false if it was cancelled there.
    fn begin(&self, job: &Job) -> bool {
        let mut queue = self.queue.lock();
        let cancelled = queue.waiting.pop_front().is_some_and(|job| job.cancelled);
        self.queued.store(queue.waiting.len(), Ordering::Relaxed);
        queue.running = (!cancelled).then(|| Running {
            mailbox: job.mailbox.clone(),
            since: Instant::now(),
        });
        !cancelled
    }

    /// Cancels the command of a mailbox, if it runs or waits in the queue.
    pub(super) fn cancel(&self, mailbox: &Mailbox) {
        let is_its = |other: &Arc<Mailbox>| std::ptr::eq(&**other, mailbox);
        let mut queue = self.queue.lock();
        if let Some(job) = queue.waiting.iter_mut().find(|job| is_its(&job.mailbox)) {
            job.cancelled = true;
            return;
        }
        let since = match &queue.running {
            Some(running) if is_its(&running.mailbox) => running.since,
            _ => return,
        };
        self.canceller.cancel();
        if since.elapsed() < CANCEL_IS_LOST {
            drop(queue);
            sleep(CANCEL_IS_LOST);
            match &self.queue.lock().running {
                Some(running) if is_its(&running.mailbox) && running.since == since => {
                    self.canceller.cancel();
                }
                _ => {}
            }
        }
    }

    /// Stores the state and powers the TPM off. Its contexts have abandoned
    /// their commands.
    pub(super) fn close(&self) -> Result<()> {
        let worker = {
            let mut queue = self.queue.lock();
            queue.resting = true;
            self.wake.notify_one();
            queue.worker.take()
        };
        drop(worker);
        let tpm = self.tpm.lock().take();
        tpm.map_or(Ok(()), RunningTpm::suspend)
    }

    /// Cancels the worker's commands and ends it, at the end of the process. Returns
    /// false if that takes longer than the deadline. The next long command starts
    /// another worker.
    pub(super) fn rest(&self, deadline: Deadline) -> bool {
        // This is a child that was made by clone(2), without our fork handlers.
        if self.process != std::process::id() {
            return false;
        }
        let idle = retry_until(deadline, || {
            let mut queue = self.queue.try_lock()?;
            queue.resting = true;
            self.wake.notify_one();
            for job in &mut queue.waiting {
                job.cancelled = true;
            }
            if queue.running.is_some() {
                self.canceller.cancel();
            }
            (queue.running.is_none() && queue.waiting.is_empty()).then(|| queue.worker.take())
        });
        let Some(worker) = idle else { return false };
        drop(worker);
        self.queue.lock().resting = false;
        true
    }

    /// Stores the state at the end of the process, or when this library is unloaded,
    /// if that can be done by the deadline.
    pub(super) fn end(&self, deadline: Deadline) -> Result<()> {
        if !self.rest(deadline) {
            return Ok(());
        }
        match retry_until(deadline, || self.tpm.try_lock()) {
            Some(mut tpm) => tpm.take().map_or(Ok(()), RunningTpm::end),
            None => Ok(()),
        }
    }
}
