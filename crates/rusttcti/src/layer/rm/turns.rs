// SPDX-License-Identifier: BSD-2-Clause
//! The turn of one client: the engine works on its task, over its connection.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::connection::{Awaited, Canceller, Connection, Progress, Slot, Task, given_up};
use super::engine::Step;
use super::manager::State;
use crate::{Error, Result, Tcti};

impl State {
    pub(super) fn slot(&mut self, space: usize) -> Option<&mut Slot> {
        self.slots.get_mut(space)?.as_mut()
    }

    pub(super) fn set_share(&mut self) {
        let share = self.shares.iter().any(|(_, share)| *share);
        self.engine.set_share(share);
    }

    pub(super) fn forget(&mut self, space: usize) {
        self.engine.remove_client(space);
        self.slots[space] = None;
        self.shares.retain(|(other, _)| *other != space);
        self.set_share();
    }

    /// Forgets, in a forked child, what was under way in the parent.
    pub(super) fn enter_child(&mut self) {
        self.engine.enter_child();
        self.waiting = 0;
        self.turn = None;
        self.queue.clear();
        for slot in self.slots.iter_mut().flatten() {
            slot.progress = Progress::Idle;
        }
    }

    /// Gives the turn to the next client that waits for it.
    pub(super) fn start_next(&mut self) {
        while self.turn.is_none() {
            let Some(space) = self.queue.pop_front() else {
                return;
            };
            self.start(space);
            self.refresh(space);
        }
    }

    /// Gives the turn to a client, and sends the first of its commands.
    pub(super) fn start(&mut self, space: usize) {
        let Some(Some(slot)) = self.slots.get_mut(space) else {
            return;
        };
        slot.progress = Progress::Running;
        self.turn = Some(space);
        match slot.task {
            Task::Command => self.engine.begin(space, &slot.command),
            Task::Open { flush } => self.engine.begin_open(space, flush),
            Task::Close => self.engine.begin_close(space),
            Task::Sticky { handle, sticky } => self.engine.begin_sticky(space, handle, sticky),
            Task::Reset => {
                let reset = match &mut slot.connection {
                    Some(connection) => connection.below.reset(),
                    None => Err(given_up()),
                };
                if reset.is_ok() {
                    self.engine.restarted(Duration::ZERO);
                }
                self.answer(space, reset.map(|()| 0));
                return;
            }
        }
        if let Some(mut connection) = slot.connection.take() {
            self.advance(space, &mut connection, None);
            if let Some(slot) = self.slot(space) {
                slot.connection = Some(connection);
            }
        }
    }

    /// Puts a connection back, with the response or failure that came on it.
    pub(super) fn put_back(
        &mut self,
        space: usize,
        mut connection: Box<Connection>,
        received: Result<usize>,
    ) -> Result<()> {
        let waits = matches!(&received, Err(error) if error.kind().leaves_command_pending());
        let is_gone = self.slot(space).is_none_or(|slot| slot.is_gone);
        let mut result = Ok(());
        match received {
            Err(error) if waits => result = Err(error),
            received => {
                connection.resume = None;
                self.advance(space, &mut connection, Some(received));
            }
        }
        if is_gone {
            self.end_gone(space, *connection);
        } else if let Some(slot) = self.slot(space) {
            slot.connection = Some(connection);
        }
        if self.turn.is_none() {
            self.start_next();
        }
        result
    }

    /// Ends a client that was closed while a thread waited on its connection.
    pub(super) fn end_gone(&mut self, space: usize, connection: Connection) {
        if self.turn == Some(space) {
            self.engine.failed();
            self.engine.finish();
            self.turn = None;
        }
        let mut below = connection.below;
        if let Err(error) = below.finalize() {
            crate::sys::log::debug!("rm: {}", error.report());
        }
        self.forget(space);
    }

    /// Advances the engine's job as far as it goes without waiting.
    pub(super) fn advance(
        &mut self,
        space: usize,
        connection: &mut Connection,
        received: Option<Result<usize>>,
    ) {
        if let Some(received) = received {
            let awaited = std::mem::replace(&mut connection.awaited, Awaited::Nothing);
            if let Some(answer) = self.take(connection, awaited, received) {
                self.answer(space, answer);
                return;
            }
        }
        loop {
            match self.engine.next() {
                Step::Own => {
                    self.publish_loaded();
                    let sent = connection.below.transmit(self.engine.outgoing());
                    connection.awaited = Awaited::Own;
                    match sent {
                        Ok(()) => return,
                        Err(error) => {
                            connection.awaited = Awaited::Nothing;
                            if let Some(answer) = self.fail(connection, error) {
                                self.answer(space, answer);
                                return;
                            }
                        }
                    }
                }
                Step::Client => match self.send_client(space, connection) {
                    Some(Ok(())) => {
                        connection.awaited = Awaited::Client;
                        return;
                    }
                    Some(Err(error)) => {
                        if let Some(answer) = self.fail(connection, error) {
                            self.answer(space, answer);
                            return;
                        }
                    }
                    None => self.engine.answer_cancelled(),
                },
                Step::Wait(time) => {
                    if self.is_cancelled(space) {
                        self.engine.answer_cancelled();
                        continue;
                    }
                    self.reclaim();
                    connection.resume = Some(Instant::now() + time);
                    return;
                }
                Step::Done => {
                    let answer = self.copy_response(connection);
                    self.answer(space, Ok(answer));
                    return;
                }
            }
        }
    }

    pub(super) fn is_cancelled(&mut self, space: usize) -> bool {
        self.slot(space)
            .is_some_and(|slot| slot.cancel.is_cancelled())
    }

    /// Writes for other processes what is loaded, or about to be.
    pub(super) fn publish_loaded(&mut self) {
        if let Some(presence) = &mut self.presence {
            let (held, foreign) = (self.engine.held(), self.engine.foreign());
            let (saved, resets) = (self.engine.saved(), self.engine.resets());
            presence.publish(held, foreign, self.engine.is_loading(), saved, resets);
        }
    }

    /// Begins to flush what killed processes left loaded.
    pub(super) fn reclaim(&mut self) {
        let Some(presence) = &self.presence else {
            return;
        };
        let others = presence.others();
        self.engine.take_others(others);
    }

    pub(super) fn send_client(
        &mut self,
        space: usize,
        connection: &mut Connection,
    ) -> Option<Result<()>> {
        self.publish_loaded();
        let slot = self.slots.get_mut(space)?.as_mut()?;
        let engine = &mut self.engine;
        let (sent, is_cancellable) = Canceller::send(&mut slot.cancel, || {
            let sent = connection.below.transmit(engine.outgoing());
            let canceller = sent.is_ok().then(|| connection.below.canceller()).flatten();
            (sent, canceller)
        })?;
        slot.is_cancellable = is_cancellable;
        Some(sent)
    }

    /// Gives the engine a response. Returns the client's answer if that ends the
    /// job.
    pub(super) fn take(
        &mut self,
        connection: &mut Connection,
        awaited: Awaited,
        received: Result<usize>,
    ) -> Option<Result<usize>> {
        match (awaited, received) {
            (Awaited::Nothing, _) => None,
            (_, Err(error)) => self.fail(connection, error),
            (Awaited::Own, Ok(length)) => {
                let response = connection.buffer.get(..length).unwrap_or_default();
                self.engine.own_answered(response);
                None
            }
            (Awaited::Client, Ok(length)) => {
                let done = self.engine.client_answered(&mut connection.buffer, length);
                if done.is_none() && !self.engine.has_response() {
                    if let Some(space) = self.turn {
                        if let Some(slot) = self.slot(space) {
                            slot.cancel.again();
                        }
                    }
                }
                done.map(Ok)
            }
        }
    }

    /// Notes a failure. The next job deals with one that comes after the client's
    /// command was answered.
    pub(super) fn fail(
        &mut self,
        connection: &mut Connection,
        error: Error,
    ) -> Option<Result<usize>> {
        self.engine.failed();
        if self.engine.has_response() {
            crate::sys::log::debug!("rm: after a command: {}", error.report());
            return Some(Ok(self.copy_response(connection)));
        }
        Some(Err(error))
    }

    pub(super) fn copy_response(&self, connection: &mut Connection) -> usize {
        let response = self.engine.response();
        if connection.buffer.len() < response.len() {
            connection.buffer.resize(response.len(), 0);
        }
        connection.buffer[..response.len()].copy_from_slice(response);
        response.len()
    }

    /// Ends a client's task.
    pub(super) fn answer(&mut self, space: usize, answer: Result<usize>) {
        self.engine.finish();
        self.publish_loaded();
        self.turn = None;
        if let Some(slot) = self.slot(space) {
            Canceller::end(&mut slot.cancel);
            slot.is_cancellable = false;
            if !matches!(slot.progress, Progress::Idle) {
                slot.progress = Progress::Answered(answer);
            }
        }
    }

    /// Updates the descriptors of all event loops.
    pub(super) fn refresh_all(&mut self) {
        for space in 0..self.slots.len() {
            self.refresh(space);
        }
    }

    /// Updates the descriptor of a client's event loop.
    pub(super) fn refresh(&mut self, space: usize) {
        let Some(Some(slot)) = self.slots.get_mut(space) else {
            return;
        };
        let queued = matches!(slot.progress, Progress::Queued);
        let ready = matches!(slot.progress, Progress::Answered(_));
        let Some(connection) = &mut slot.connection else {
            return;
        };
        let Some(mut wakeups) = connection.wakeups.take() else {
            return;
        };
        wakeups.set_ready(ready);
        let watched = match self.turn {
            Some(turn) if queued || turn == space => turn,
            _ => space,
        };
        self.watch(&mut wakeups, watched, ready);
        if let Some(connection) = self.slot(space).and_then(|slot| slot.connection.as_mut()) {
            connection.wakeups = Some(wakeups);
        }
    }

    pub(super) fn watch(
        &mut self,
        wakeups: &mut super::wakeups::Wakeups,
        space: usize,
        is_answered: bool,
    ) {
        let connection = self.slot(space).and_then(|slot| slot.connection.as_mut());
        let Some(connection) = connection.filter(|_| !is_answered) else {
            wakeups.watch(&[]);
            wakeups.set_pause(None);
            return;
        };
        let pause = connection
            .resume
            .map(|at| at.saturating_duration_since(Instant::now()));
        wakeups.set_pause(pause);
        match connection.awaited {
            Awaited::Nothing => wakeups.watch(&[]),
            _ => wakeups.watch(&connection.below.poll_handles().unwrap_or_default()),
        }
    }
}
