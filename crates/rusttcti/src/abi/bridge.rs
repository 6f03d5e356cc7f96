// SPDX-License-Identifier: BSD-2-Clause
//! The state machine between a C caller and a [`Tcti`]. Every C call passes through it.
//!
//! | state | transmit | receive | cancel | set_locality | finalize |
//! | --- | --- | --- | --- | --- | --- |
//! | transmit | ok: to receive | BAD_SEQUENCE | BAD_SEQUENCE | stays | to final |
//! | receive | BAD_SEQUENCE | ok: to transmit; TRY_AGAIN, INSUFFICIENT_BUFFER, BAD_REFERENCE, BAD_VALUE: stays; else: to transmit | stays | BAD_SEQUENCE | to final |
//! | final | BAD_SEQUENCE, all of them | | | | nothing |
//!
//! In a forked child, the first call asks the transport whether it can go on
//! ([`Tcti::after_fork`]). If it can, the state is transmit, whatever the parent's
//! state is. If it cannot, every call fails, and no call reaches the transport.

#![forbid(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use super::buffered::BufferedTransport;
use super::refusal::{bad_command, bad_sequence, bad_timeout, busy, null, too_small};
use crate::contract::tcti::{check_locality, inherited};
use crate::sys::copy::copy;
use crate::sys::fork::{AtomicGeneration, Generation};
use crate::sys::locks::Mutex;
use crate::sys::locks::exclusive::{Exclusive, Guard};
use crate::sys::panic::{caught, guarded};
use crate::sys::sigpipe;
use crate::wire::header::Header;
use crate::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

/// The call that a context accepts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Transmit,
    Receive,
    Final,
}

/// A transport with its state, locks and buffers, between the transport and its C
/// caller.
pub(super) struct Bridge {
    /// The process generation that this bridge belongs to.
    generation: AtomicGeneration,
    max_size: usize,
    /// The current [`State`]. It is written only under the lock of `buffered`; `cancel`
    /// reads it without the lock.
    state: AtomicU8,
    buffered: Exclusive<BufferedTransport>,
    /// The canceller of the command under way. It is not part of `buffered` because
    /// `receive` holds that lock while a cancel comes. `cancel` holds this lock, and
    /// `transmit` takes it, so no cancel for one command reaches the next.
    canceller: Mutex<Option<Arc<dyn Cancel>>>,
    /// Set while `canceller` may hold a value. Only `transmit` touches it, so commands
    /// that cannot be cancelled never take the lock.
    cancellable: AtomicBool,
    /// Whether the transport can cancel commands. If it can and a command has no
    /// canceller, that command is over: its cancel comes too late and does nothing.
    cancels: bool,
    /// Whether the bridge blocks SIGPIPE during the transport's calls: the transport is
    /// third-party code, and may write to pipes.
    shielded: bool,
    /// The errors of calls, if the owner asked to keep them. `None` in a context whose
    /// memory C frees: C does not drop the errors, so their memory would leak.
    failure: Option<Failure>,
}

/// The last error of a context's calls.
#[derive(Default)]
struct Failure {
    /// The error of the last call that failed.
    last: Mutex<Option<Error>>,
    /// Whether the most recent call is the one that failed.
    is_recent: AtomicBool,
}

impl Failure {
    #[cold]
    fn keep(&self, error: &Error) {
        let before = self.last.lock().replace(error.clone());
        self.is_recent.store(true, Ordering::Relaxed);
        // The error's cause may be of any type, and its drop may panic.
        let _ = guarded(|| {
            drop(before);
            Ok(())
        });
    }
}

impl Bridge {
    pub(super) fn new(mut transport: Box<dyn Tcti>, max_size: usize, shielded: bool) -> Self {
        let cancels = guarded(|| Ok(transport.canceller().is_some()));
        Self {
            generation: AtomicGeneration::current(),
            max_size,
            state: AtomicU8::new(State::Transmit as u8),
            buffered: Exclusive::new(BufferedTransport {
                transport: Some(transport),
                response: vec![0; max_size],
                kept: None,
                counted: None,
                refusal: None,
            }),
            canceller: Mutex::new(None),
            cancellable: AtomicBool::new(false),
            cancels: cancels.unwrap_or(false),
            shielded,
            failure: None,
        }
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Transmit,
            1 => State::Receive,
            _ => State::Final,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Returns whether this is a forked child that does not go on with the transport.
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        !self.generation.is_current()
    }

    /// Drops the command's canceller. The drop may run a transport's code, and panic.
    fn drop_canceller(&self) -> Result<()> {
        let canceller = self.canceller.lock().take();
        guarded(|| {
            drop(canceller);
            Ok(())
        })
    }

    /// Keeps the errors of later calls. The bridge must then be dropped.
    pub(super) fn keep_failures(&mut self) {
        self.failure = Some(Failure::default());
    }

    /// Records the result of a call.
    #[inline]
    pub(super) fn keep(&self, result: &Result<()>) {
        if let Some(failure) = &self.failure {
            match result {
                Ok(()) => failure.is_recent.store(false, Ordering::Relaxed),
                Err(_) if self.is_inherited() => {}
                Err(error) => failure.keep(error),
            }
        }
    }

    /// Returns the error of the last call that failed. A forked child gets `None`:
    /// another thread of the parent may have left the lock held.
    pub(super) fn last_error(&self) -> Option<Error> {
        match (self.is_inherited(), &self.failure) {
            (false, Some(failure)) => failure.last.lock().clone(),
            _ => None,
        }
    }

    /// Returns the error of the most recent call, if that call failed.
    pub(super) fn recent_error(&self) -> Option<Error> {
        let failure = self.failure.as_ref()?;
        match failure.is_recent.load(Ordering::Relaxed) {
            true => self.last_error(),
            false => None,
        }
    }

    /// Fails in a forked child that cannot go on with the transport: the connection and
    /// the TPM belong to the parent.
    #[inline]
    pub(super) fn check_process(&self) -> Result<()> {
        match self.is_inherited() {
            false => Ok(()),
            true => self.enter_child(),
        }
    }

    /// Lets the transport connect anew for this forked child, once.
    #[cold]
    fn enter_child(&self) -> Result<()> {
        let Some(mut buffered) = self.buffered.try_lock() else {
            // Either another thread of the child is already here, or a thread of the
            // parent was in a call at the fork and left it half done.
            return match self.is_inherited() {
                true => Err(inherited()),
                false => Err(busy()),
            };
        };
        if !self.is_inherited() {
            return Ok(());
        }
        let child = Generation::current();
        if let Some((_, error)) = buffered.refusal.as_ref().filter(|(of, _)| *of == child) {
            return Err(error.clone());
        }
        let Some(mut canceller) = self.canceller.try_lock() else {
            return Err(inherited());
        };
        let Some(transport) = &mut buffered.transport else {
            return Err(inherited());
        };
        if let Err(error) = self.guarded(|| transport.after_fork()) {
            buffered.refusal = Some((child, error.clone()));
            return Err(error);
        }
        // The canceller is the parent's: its drop could reach the parent's peer.
        std::mem::forget(canceller.take());
        self.cancellable.store(false, Ordering::Relaxed);
        buffered.kept = None;
        buffered.counted = None;
        self.set_state(State::Transmit);
        self.generation.set(child);
        Ok(())
    }

    /// Runs a call of the transport, and keeps panics and SIGPIPE from the program.
    #[inline]
    fn guarded<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.shield(|| guarded(call))
    }

    #[inline]
    fn shield<T>(&self, call: impl FnOnce() -> T) -> T {
        sigpipe::shielded_if(self.shielded, call)
    }

    /// Returns the transport for a call that `state` allows. The poll handles may
    /// change after that call.
    #[inline]
    fn enter(&self, allowed: impl Fn(State) -> bool) -> Result<Guard<'_, BufferedTransport>> {
        let mut buffered = self.look(allowed)?;
        if buffered.counted.is_some() {
            buffered.counted = None;
        }
        Ok(buffered)
    }

    /// Returns the transport for a call that `state` allows.
    #[inline]
    fn look(&self, allowed: impl Fn(State) -> bool) -> Result<Guard<'_, BufferedTransport>> {
        self.check_process()?;
        let Some(buffered) = self.buffered.try_lock() else {
            return Err(busy());
        };
        let state = self.state();
        if allowed(state) {
            return Ok(buffered);
        }
        Err(bad_sequence(state))
    }

    /// Sends a command; `command` is `None` for a NULL pointer.
    pub(super) fn transmit(&self, command: Option<&[u8]>) -> Result<()> {
        let mut buffered = self.enter(|state| state == State::Transmit)?;
        let Some(command) = command else {
            return Err(null("command"));
        };
        if !Header::fits(command) {
            return Err(bad_command(command));
        }
        crate::sys::log::trace_bytes!("transmit", command);
        if self.cancellable.load(Ordering::Relaxed) {
            self.cancellable.store(false, Ordering::Relaxed);
            // Waits until a cancel of the previous command, if one runs, has ended.
            self.drop_canceller()?;
        }
        buffered.kept = None;
        let transport = buffered.transport()?;
        // The result is taken apart at once: a whole `Result` is slow to move.
        let (mut canceller, mut failure) = (None, None);
        self.shield(|| {
            caught(|| match transport.transmit(command) {
                Ok(()) => canceller = transport.canceller(),
                Err(error) => failure = Some(error),
            })
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        if canceller.is_some() {
            *self.canceller.lock() = canceller;
            self.cancellable.store(true, Ordering::Relaxed);
        }
        self.set_state(State::Receive);
        Ok(())
    }

    /// Receives the response. `size` is the capacity of the caller's buffer; it becomes
    /// the length that the response has or needs. `size` and `response` are `None` for
    /// NULL pointers. `response` need not be longer than the largest response.
    pub(super) fn receive(
        &self,
        size: Option<&mut usize>,
        response: Option<&mut [MaybeUninit<u8>]>,
        timeout: i32,
    ) -> Result<()> {
        let mut buffered = self.enter(|state| state == State::Receive)?;
        let Some(size) = size else {
            return Err(null("size"));
        };
        let timeout = duration(timeout)?;
        let Some(response) = response else {
            *size = buffered.kept.unwrap_or(self.max_size);
            return Ok(());
        };
        let length = match buffered.kept {
            Some(length) => length,
            None => match self.shield(|| buffered.receive(timeout)) {
                Ok(length) => length,
                Err(error) => {
                    if !error.kind().leaves_command_pending() {
                        self.set_state(State::Transmit);
                    }
                    return Err(error);
                }
            },
        };
        if *size < length {
            buffered.kept = Some(length);
            let given = std::mem::replace(size, length);
            return Err(too_small(length, given));
        }
        let to = &mut response[..length];
        copy(&buffered.response[..length], to, MaybeUninit::new);
        *size = length;
        buffered.kept = None;
        self.set_state(State::Transmit);
        Ok(())
    }

    pub(super) fn cancel(&self) -> Result<()> {
        self.check_process()?;
        let canceller = self.canceller.lock();
        match self.state() {
            State::Receive => {}
            state => return Err(bad_sequence(state)),
        }
        match &*canceller {
            Some(canceller) => self.guarded(|| canceller.cancel()),
            None if self.cancels => Ok(()),
            None => Err(Error::new(
                ErrorKind::NotImplemented,
                "this transport cannot cancel a command",
            )),
        }
    }

    /// Returns the descriptors to poll, in the transport's order, for an array of
    /// `places` entries; with `None`, only counts them.
    pub(super) fn poll_handles(
        &self,
        number_is_null: bool,
        places: Option<usize>,
    ) -> Result<Vec<PollHandle>> {
        let mut buffered = self.look(|state| state != State::Final)?;
        if number_is_null {
            return Err(null("num_handles"));
        }
        let handles = match (places, buffered.counted.take()) {
            (Some(_), Some(counted)) => counted,
            _ => {
                let transport = buffered.transport()?;
                self.guarded(|| transport.poll_handles())?
            }
        };
        if places.is_none_or(|places| places < handles.len()) {
            buffered.counted = Some(handles.clone());
        }
        Ok(handles)
    }

    pub(super) fn set_locality(&self, locality: u8) -> Result<()> {
        let mut buffered = self.enter(|state| state == State::Transmit)?;
        check_locality(locality)?;
        let transport = buffered.transport()?;
        self.guarded(|| transport.set_locality(locality))
    }

    pub(super) fn make_sticky(&self, handle: Option<&mut u32>, sticky: bool) -> Result<()> {
        let mut buffered = self.enter(|state| state == State::Transmit)?;
        let handle = handle.ok_or_else(|| null("handle"))?;
        let transport = buffered.transport()?;
        *handle = self.guarded(|| transport.make_sticky(*handle, sticky))?;
        Ok(())
    }

    pub(super) fn reset(&self) -> Result<()> {
        let mut buffered = self.enter(|state| state == State::Transmit)?;
        let transport = buffered.transport()?;
        self.guarded(|| transport.reset())
    }

    /// Ends the transport. If another thread is in a call, it is cancelled if possible,
    /// and waited for. In a forked child the transport is left untouched, so the
    /// parent's peer notices nothing.
    pub(super) fn finalize(&self) -> Result<()> {
        let Some(mut transport) = self.take() else {
            return Ok(());
        };
        let finalized = self.guarded(|| transport.finalize());
        let dropped = self.guarded(|| {
            drop(transport);
            Ok(())
        });
        finalized.and(dropped)
    }

    /// Takes the transport out and goes to the state final. Returns `None` if the
    /// transport was taken before, or belongs to another process.
    pub(super) fn take(&self) -> Option<Box<dyn Tcti>> {
        if self.is_inherited() {
            return None;
        }
        let mut buffered = match self.buffered.try_lock() {
            Some(buffered) => buffered,
            None => {
                // Without the cancel this could wait for ever. A failed cancel changes
                // nothing.
                let _ = self.cancel();
                self.buffered.lock()
            }
        };
        self.set_state(State::Final);
        let _ = self.drop_canceller();
        buffered.kept = None;
        // C frees the context's memory without dropping its fields, so no heap memory
        // may remain.
        buffered.response = Vec::new();
        buffered.transport.take()
    }
}

/// Converts a timeout of the C interface: milliseconds, -1 for ever.
#[inline]
fn duration(timeout: i32) -> Result<Option<Duration>> {
    match timeout {
        -1 => Ok(None),
        0 => Ok(Some(Duration::ZERO)),
        1.. => Ok(Some(Duration::from_millis(timeout.unsigned_abs().into()))),
        _ => Err(bad_timeout(timeout)),
    }
}
