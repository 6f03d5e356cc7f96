// SPDX-License-Identifier: BSD-2-Clause
//! The clients of one TPM in this process, and their turns.
//!
//! The engine has one client's task at a time as its job. Each client has its own
//! connection, which carries the commands of its job. A thread that waits (in
//! `receive`, or for its turn) takes the connection whose turn it is and advances that
//! job, even if it is another client's. Otherwise a program that sends a command on one
//! context and then waits on another one would wait for ever.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Weak};
use std::time::{Duration, Instant};

use super::connection::{Awaited, Canceller, Progress, Slot, Task, given_up};
use super::engine::{Engine, Mode};
use super::presence::Presence;
use crate::contract::tcti::inherited;
use crate::layer::exit;
use crate::layer::own_commands::wait_for;
use crate::sys::deadline::Deadline;
use crate::sys::fork::{AtomicGeneration, Generation, NoFork, PerGeneration};
use crate::sys::locks::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Peer, Result, Tcti};

/// The managers of this process. Each process has a list of its own, so a forked
/// child finds its list unlocked, whatever its parent's threads did.
static LISTS: PerGeneration<Mutex<Vec<Weak<Manager>>>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

/// All clients of one TPM.
#[derive(Debug)]
pub(super) struct Manager {
    identity: Option<String>,
    /// The process that it belongs to.
    generation: AtomicGeneration,
    /// Whether a forked child may go on with it; then no fork comes while the state
    /// is locked.
    forks: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) slots: Vec<Option<Slot>>,
    /// The client whose job the engine has.
    pub(super) turn: Option<usize>,
    pub(super) queue: VecDeque<usize>,
    /// How many threads wait for a change. Waking costs a system call even if none
    /// waits.
    pub(super) waiting: usize,
    /// Tells other processes what this one has loaded, while it shares the TPM.
    pub(super) presence: Option<Presence>,
    /// Each client's choice. If one of them shares, all do.
    pub(super) shares: Vec<(usize, bool)>,
}

/// The state, locked.
pub(super) struct Locked<'a> {
    // Dropped in this order: the state is unlocked before a fork may come.
    state: MutexGuard<'a, State>,
    _no_fork: Option<NoFork>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Manager {
    /// Returns the manager of the TPM that `peer` describes, and makes it if there
    /// is none.
    pub(super) fn of(peer: &Peer, share: bool, forks: bool) -> Arc<Self> {
        let generation = Generation::current();
        let mut list = LISTS.of(generation).lock();
        let same = |manager: &Arc<Self>| {
            manager.identity.is_some()
                && manager.identity == peer.identity
                && manager.generation.get() == generation
        };
        if let Some(known) = list.iter().filter_map(Weak::upgrade).find(same) {
            known.forks.fetch_or(forks, Ordering::Relaxed);
            return known;
        }
        let mode = Mode {
            share,
            kernel: peer.is_kernel_manager,
            fork: forks,
        };
        let seed = u64::from(std::process::id()) << 32 | generation.number();
        let manager = Arc::new(Self {
            identity: peer.identity.clone(),
            generation: AtomicGeneration::current(),
            forks: AtomicBool::new(forks),
            state: Mutex::new(State {
                engine: Engine::new(mode, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                slots: Vec::new(),
                turn: None,
                queue: VecDeque::new(),
                waiting: 0,
                presence: None,
                shares: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        list.retain(|manager| manager.strong_count() > 0);
        list.push(Arc::downgrade(&manager));
        exit::register(&manager);
        manager
    }

    /// Locks the state. If forked children go on with it, no fork comes meanwhile.
    pub(super) fn lock(&self) -> Locked<'_> {
        let no_fork = self.forks.load(Ordering::Relaxed).then(NoFork::enter);
        Locked {
            state: self.state.lock(),
            _no_fork: no_fork,
        }
    }

    /// Locks the state as [`lock`](Self::lock) does, if no other thread has it.
    pub(super) fn try_lock(&self) -> Option<Locked<'_>> {
        let no_fork = self.forks.load(Ordering::Relaxed).then(NoFork::enter);
        Some(Locked {
            state: self.state.try_lock()?,
            _no_fork: no_fork,
        })
    }

    /// Waits until another thread changed something, or the deadline.
    fn wait<'a>(&'a self, mut locked: Locked<'a>, deadline: Deadline) -> Locked<'a> {
        // A bound, in case a wakeup is missed.
        const LONGEST: Duration = Duration::from_millis(200);
        let left = deadline.remaining().unwrap_or(LONGEST).min(LONGEST);
        locked.waiting += 1;
        let Locked { state, _no_fork } = locked;
        drop(_no_fork);
        drop(self.changed.wait_timeout(state, left));
        let mut locked = self.lock();
        locked.waiting = locked.waiting.saturating_sub(1);
        locked
    }

    /// Adds a client.
    pub(super) fn add(&self, below: Box<dyn Tcti>, share: bool, forks: bool) -> usize {
        let mut state = self.lock();
        let space = state.engine.add_client();
        if state.slots.len() <= space {
            state.slots.resize_with(space + 1, || None);
        }
        state.slots[space] = Some(Slot::new(below));
        state.shares.push((space, share));
        state.set_share();
        if let Some(identity) = self.identity.as_ref().filter(|_| state.engine.shares()) {
            if state.presence.is_none() {
                state.presence = Some(Presence::new(identity, false));
                state.reclaim();
            }
        }
        if forks {
            state.engine.set_fork(true);
        }
        space
    }

    /// Removes a client and returns its connection. If a thread waits on the
    /// connection, that thread ends it instead.
    pub(super) fn remove(&self, space: usize) -> Option<Box<dyn Tcti>> {
        let mut state = self.lock();
        let connection = state.slot(space).and_then(|slot| slot.connection.take());
        match connection {
            Some(connection) => {
                state.forget(space);
                Some(connection.below)
            }
            None => {
                if let Some(slot) = state.slot(space) {
                    slot.is_gone = true;
                }
                None
            }
        }
    }

    /// Begins a client's task, at once or when its turn comes; returns whether it can
    /// be cancelled.
    pub(super) fn begin(&self, space: usize, task: Task, command: &[u8]) -> Result<bool> {
        let mut state = self.lock();
        let Some(slot) = state.slot(space) else {
            return Err(given_up());
        };
        slot.task = task;
        slot.command.clear();
        slot.command.extend_from_slice(command);
        slot.progress = Progress::Queued;
        slot.is_cancellable = true;
        Canceller::begin(&mut slot.cancel);
        if state.turn.is_some() {
            state.queue.push_back(space);
            state.refresh(space);
            return Ok(true);
        }
        state.start(space);
        // A failure to send is returned at once, as by a transport.
        let slot = state.slot(space);
        match slot.map(|slot| std::mem::replace(&mut slot.progress, Progress::Idle)) {
            Some(Progress::Answered(Err(error))) => {
                state.refresh(space);
                Err(error)
            }
            Some(progress) => {
                let mut is_cancellable = false;
                if let Some(slot) = state.slot(space) {
                    slot.progress = progress;
                    is_cancellable = slot.is_cancellable;
                }
                state.refresh(space);
                Ok(is_cancellable)
            }
            None => Ok(false),
        }
    }

    /// Waits for the end of a client's task, and hands the answer to `take`. The
    /// answer is kept if `take` fails with [`ErrorKind::InsufficientBuffer`].
    pub(super) fn finish(
        &self,
        space: usize,
        timeout: Option<Duration>,
        take: impl FnOnce(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let mut wait = Wait::Whole(timeout);
        let mut state = self.lock();
        loop {
            let Some(slot) = state.slot(space) else {
                return Err(given_up());
            };
            match std::mem::replace(&mut slot.progress, Progress::Idle) {
                Progress::Idle => return Err(given_up()),
                Progress::Answered(answer) => {
                    let taken = answer.and_then(|length| {
                        let buffer = slot
                            .connection
                            .as_ref()
                            .map(|connection| &connection.buffer[..length]);
                        let taken = take(buffer.unwrap_or_default());
                        let kept =
                            matches!(&taken, Err(e) if e.kind() == ErrorKind::InsufficientBuffer);
                        if kept {
                            slot.progress = Progress::Answered(Ok(length));
                        }
                        taken
                    });
                    state.refresh(space);
                    return taken;
                }
                waiting => slot.progress = waiting,
            }
            state = self.bring_forward(state, &mut wait)?;
        }
    }

    /// Advances the job whose turn it is, or waits for the thread that does.
    fn bring_forward<'a>(&'a self, mut state: Locked<'a>, wait: &mut Wait) -> Result<Locked<'a>> {
        let Some(turn) = state.turn else {
            state.start_next();
            return Ok(state);
        };
        let connection = state.slot(turn).and_then(|slot| slot.connection.take());
        let Some(mut connection) = connection else {
            let deadline = wait.deadline();
            if deadline.is_over() {
                return Err(ErrorKind::TryAgain.into());
            }
            return Ok(self.wait(state, deadline));
        };
        let received = match connection.awaited {
            Awaited::Nothing => {
                drop(state);
                pause(connection.resume, wait.deadline())
            }
            Awaited::Client => {
                drop(state);
                let left = wait.spend();
                connection.below.receive(&mut connection.buffer, left)
            }
            Awaited::Own => {
                drop(state);
                let left = wait.deadline().remaining();
                connection.below.receive(&mut connection.buffer, left)
            }
        };
        let mut state = self.lock();
        let result = state.put_back(turn, connection, received);
        if state.waiting > 0 {
            self.changed.notify_all();
        }
        state.refresh_all();
        result.map(|()| state)
    }

    /// Runs a task from its beginning to its end.
    pub(super) fn run(&self, space: usize, task: Task, wait: Duration) -> Result<Vec<u8>> {
        self.begin(space, task, &[])?;
        let mut bytes = Vec::new();
        let done = wait_for("rm", "this layer's own commands", wait, |time| {
            self.finish(space, Some(time), |answer| {
                bytes.extend_from_slice(answer);
                Ok(answer.len())
            })
        });
        match done {
            Ok(_) => Ok(bytes),
            Err(error) => {
                self.give_up(space);
                Err(error)
            }
        }
    }

    /// Ends a client's task wherever it is; false if a thread still waits for it.
    pub(super) fn give_up(&self, space: usize) -> bool {
        let mut state = self.lock();
        state.queue.retain(|queued| *queued != space);
        if let Some(slot) = state.slot(space) {
            Canceller::end(&mut slot.cancel);
            let has_connection = slot.connection.is_some();
            if let Some(connection) = &mut slot.connection {
                connection.awaited = Awaited::Nothing;
                connection.resume = None;
            }
            slot.progress = Progress::Idle;
            if !has_connection && state.turn == Some(space) {
                return false;
            }
        }
        if state.turn == Some(space) {
            state.engine.failed();
            state.engine.finish();
            state.turn = None;
            state.start_next();
        }
        if state.waiting > 0 {
            self.changed.notify_all();
        }
        true
    }

    /// Uses a client's connection between its tasks.
    pub(super) fn with_below<T>(
        &self,
        space: usize,
        call: impl FnOnce(&mut dyn Tcti) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        match state.slot(space).and_then(|slot| slot.connection.as_mut()) {
            Some(connection) => call(&mut connection.below),
            None => Err(Error::new(
                ErrorKind::BadSequence,
                "another thread waits for a response on this context",
            )),
        }
    }

    /// Goes on in a forked child, with a new connection for a client.
    pub(super) fn enter_child(self: &Arc<Self>, space: usize) -> Result<()> {
        // A lock held by one of the parent's threads is never released here.
        let Some(mut state) = self.state.try_lock() else {
            return Err(inherited());
        };
        if self.generation.renew() {
            state.enter_child();
            if state.presence.take().is_some() {
                state.presence = self
                    .identity
                    .as_deref()
                    .map(|identity| Presence::new(identity, true));
            }
            let mut list = LISTS.current().lock();
            list.retain(|manager| manager.strong_count() > 0);
            list.push(Arc::downgrade(self));
            drop(list);
            exit::register(self);
        }
        let Some(slot) = state.slot(space) else {
            return Err(inherited());
        };
        // One of the parent's threads had taken the connection, and it is lost here.
        let Some(connection) = &mut slot.connection else {
            return Err(inherited());
        };
        slot.cancel = Arc::default();
        connection.awaited = Awaited::Nothing;
        connection.resume = None;
        connection.wakeups = None;
        connection.below.after_fork()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        exit::forget(self.generation.get());
        // The list's memory would outlive this library. This does not wait for the
        // lock, because the thread that has it may be dropping this value.
        if let Some(mut list) = LISTS.of(self.generation.get()).try_lock() {
            list.retain(|manager| manager.strong_count() > 0);
            if list.is_empty() {
                *list = Vec::new();
            }
        }
    }
}

/// How long a caller waits. The clock is read only once the caller waits for
/// something besides its own response.
enum Wait {
    Whole(Option<Duration>),
    Until(Deadline),
}

impl Wait {
    fn deadline(&mut self) -> Deadline {
        let deadline = match self {
            Self::Whole(timeout) => Deadline::after(*timeout),
            Self::Until(deadline) => *deadline,
        };
        *self = Self::Until(deadline);
        deadline
    }

    /// Returns the time that is left, for a wait that is mostly the last one.
    fn spend(&mut self) -> Option<Duration> {
        match self {
            Self::Whole(timeout) => *timeout,
            Self::Until(deadline) => deadline.remaining(),
        }
    }
}

/// Waits for the end of a pause.
fn pause(resume: Option<Instant>, deadline: Deadline) -> Result<usize> {
    let left = resume.map_or(Duration::ZERO, |at| {
        at.saturating_duration_since(Instant::now())
    });
    match deadline.remaining() {
        Some(time) if time < left => {
            std::thread::sleep(time);
            Err(ErrorKind::TryAgain.into())
        }
        _ => {
            std::thread::sleep(left);
            Ok(0)
        }
    }
}
