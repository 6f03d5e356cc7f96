// SPDX-License-Identifier: BSD-2-Clause
//! A resource manager without a daemon:
//! `rm[,share=0|1][,fork=1][,leftovers=keep|flush]:CHILD`.
//!
//! A TPM has room for about three objects and three sessions. With this layer, a
//! program may have any number of objects, and as many sessions as the TPM can have
//! active, usually 64. The layer works over every transport.
//!
//! - Objects have virtual handles; sessions keep theirs. When the TPM has no room,
//!   the layer saves and flushes an object or session (TPM2_ContextSave,
//!   TPM2_FlushContext), and loads it again (TPM2_ContextLoad) when a command names
//!   it.
//! - A virtual handle never means another object than the one it was given for. If
//!   its object is gone, a command with it is refused with the TPM's code for a
//!   handle that is not loaded (TPM_RC_REFERENCE_H0 and up).
//! - `share=1`, the default if other programs may use the TPM at the same time: nothing
//!   stays loaded between commands.
//! - `fork=1`: forked children go on with their parent's objects, each over its own
//!   connection.
//! - When a client is closed, or the process exits, the layer flushes what the client
//!   loaded. A process that is killed flushes nothing.
//! - The contexts of one process on one TPM share an engine, and take turns.
//!
//! `engine` decides what is sent, without I/O. `manager` has the clients of one TPM in
//! this process, and runs the engine: `turns` advances the job of one client over its
//! `connection`. [`Rm`] is one client.

#![forbid(unsafe_code)]

mod capability;
mod client_answer;
mod clients;
mod command;
mod connection;
mod engine;
mod exit;
mod follow_up;
mod job;
mod manager;
mod objects;
mod own_answers;
mod own_commands;
mod preparation;
mod presence;
mod resolve;
mod saved_context;
mod search;
mod sessions;
mod spaces;
mod turns;
mod wakeups;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::connection::{Awaited, Progress, Task};
use self::manager::Manager;
use self::wakeups::Wakeups;
use crate::config::setting::Setting;
use crate::config::{OpenLayer, Options};
use crate::layer::opening::close_after;
use crate::sys::fork::AtomicGeneration;
use crate::{Cancel, Error, ErrorKind, Peer, PollHandle, Result, Tcti};

/// Its options.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "share",
        value: "0|1",
        default: "1 over swtpm, cmd and C modules, 0 over others",
        text: "With 1, other programs may use the TPM at the same time: nothing stays loaded \
               between commands, and if the TPM is full, a command waits for up to 5 s. With \
               0, objects and sessions stay loaded until room is needed, so most commands need \
               no other command. 0 is the default if no other program can use the TPM: device, \
               libtpms, mssim, and swtpm with persistent=1.",
    },
    Setting {
        key: "fork",
        value: "0|1",
        default: "0",
        text: "With 1, forked children go on with their parent's objects over their own \
               connections, which device and swtpm (without persistent=1) can have. Sessions \
               stay the parent's. Parent and children share the TPM: over swtpm, it means \
               share=1.",
    },
    Setting {
        key: "leftovers",
        value: "keep|flush",
        default: "keep",
        text: "What happens to objects and sessions that are loaded when the chain is opened: \
               with keep, they keep their handles and stay loaded; with flush, they are \
               flushed.",
    },
];

/// How long the opening and the closing of a client may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The options of a resource manager, and the way to open one.
///
/// ```
/// use rusttcti::layer::rm::Rm;
/// use rusttcti::transport::libtpms::Libtpms;
///
/// let tpm = Rm::builder().share(false).open(Libtpms::builder().open()?)?;
/// # drop(tpm);
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Builder {
    share: Option<bool>,
    fork: bool,
    flush: bool,
}

impl Builder {
    /// Sets whether other programs use the TPM at the same time. The default
    /// depends on the transport.
    pub fn share(mut self, share: bool) -> Self {
        self.share = Some(share);
        self
    }

    /// Lets forked children go on with this process's objects.
    pub fn fork(mut self, fork: bool) -> Self {
        self.fork = fork;
        self
    }

    /// Flushes the objects and sessions that are loaded when the layer is opened.
    pub fn flush_leftovers(mut self, flush: bool) -> Self {
        self.flush = flush;
        self
    }

    /// Puts the layer on a transport, and asks the TPM for its sizes and for what
    /// is loaded.
    ///
    /// # Errors
    /// The transport's own; it is finalized then.
    pub fn open(self, below: impl Tcti + 'static) -> Result<Rm> {
        let mut below: Box<dyn Tcti> = Box::new(below);
        let peer = below.peer().unwrap_or_default();
        if peer.has_view {
            // Both would be clients of one manager, and each would wait for the other.
            let error = Error::new(
                ErrorKind::BadValue,
                "the layer rm is above another layer rm: one is enough, remove the other",
            );
            return Err(close_after("rm", below, error));
        }
        // A forked child uses the TPM beside its parent.
        let share = self.share.unwrap_or(!peer.is_exclusive) || (self.fork && !peer.is_exclusive);
        let cancels = below.canceller().is_some();
        let manager = Manager::of(&peer, share, self.fork);
        let space = manager.add(below, share, self.fork);
        let mut rm = Rm {
            generation: AtomicGeneration::current(),
            manager,
            space,
            cancels,
            is_cancellable: true,
            forks: self.fork,
            awaits: false,
            is_open: true,
        };
        match rm
            .manager
            .run(space, Task::Open { flush: self.flush }, PATIENCE)
        {
            Ok(_) => Ok(rm),
            Err(error) => {
                rm.awaits = true;
                // A failure of this call is ignored, because the first failure is
                // returned.
                let _ = rm.finalize();
                Err(error.context("the layer rm: the TPM does not list what is loaded"))
            }
        }
    }
}

/// Reads the options.
pub(crate) fn parse(options: &mut Options) -> Result<OpenLayer> {
    let share = one_of(options, "share", ["0", "1"])?.map(|at| at == 1);
    let fork = one_of(options, "fork", ["0", "1"])? == Some(1);
    let flush = one_of(options, "leftovers", ["keep", "flush"])? == Some(1);
    let builder = Builder { share, fork, flush };
    Ok(Box::new(move |below| Ok(Box::new(builder.open(below)?))))
}

/// Takes an option that has one of two values, and returns the value's position.
fn one_of(options: &mut Options, key: &'static str, values: [&str; 2]) -> Result<Option<usize>> {
    let Some(value) = options.take(key) else {
        return Ok(None);
    };
    match values.iter().position(|known| *known == value) {
        Some(at) => Ok(Some(at)),
        None => Err(Error::new(
            ErrorKind::BadValue,
            format!(
                "the layer rm: {key}=\"{value}\" is unknown (it is {} or {})",
                values[0], values[1]
            ),
        )),
    }
}

/// A [`Tcti`] with room for every object and session of its user.
///
/// ```
/// use rusttcti::Tcti;
/// use rusttcti::layer::rm::Rm;
/// use rusttcti::transport::libtpms::Libtpms;
/// use rusttcti::wire::{CommandBuilder, CommandCode};
///
/// let mut tpm = Rm::builder().open(Libtpms::builder().open()?)?;
/// tpm.transmit(&CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build())?;
/// assert_eq!(tpm.receive(&mut [0; 4096], None)?, 28);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub struct Rm {
    generation: AtomicGeneration,
    manager: Arc<Manager>,
    /// The manager's number for this client.
    space: usize,
    /// Whether the transport cancels commands.
    cancels: bool,
    /// Whether the command under way, or else the next one, can perhaps be cancelled.
    is_cancellable: bool,
    /// Whether forked children go on with it.
    forks: bool,
    /// Whether a response is awaited.
    awaits: bool,
    is_open: bool,
}

impl fmt::Debug for Rm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rm")
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

impl Rm {
    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn check(&self) -> Result<()> {
        self.generation.check()
    }
}

impl Tcti for Rm {
    /// Sends the command, or the first of the layer's own commands that it needs.
    /// It sends nothing yet if another context of this process has the TPM.
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.check()?;
        self.is_cancellable = self.manager.begin(self.space, Task::Command, command)?;
        self.awaits = true;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.check()?;
        let received = self.manager.finish(self.space, timeout, |answer| {
            let Some(place) = response.get_mut(..answer.len()) else {
                return Err(ErrorKind::InsufficientBuffer.into());
            };
            place.copy_from_slice(answer);
            Ok(answer.len())
        });
        self.awaits = matches!(&received, Err(error)
            if error.kind().leaves_command_pending());
        self.is_cancellable |= !self.awaits;
        received
    }

    /// Cancels only the program's command, never one of the layer's own. Before the
    /// command was sent, it is answered as cancelled.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        if !self.cancels || !self.is_cancellable || self.check().is_err() {
            return None;
        }
        let mut state = self.manager.lock();
        let slot = state.slot(self.space)?;
        if matches!(slot.progress, Progress::Answered(_)) {
            return None;
        }
        if let Some(connection) = slot
            .connection
            .as_mut()
            .filter(|connection| connection.awaited == Awaited::Client)
        {
            connection.below.canceller()?;
        }
        Some(slot.cancel.clone())
    }

    /// Returns one descriptor, which stays the same. It is readable when a command
    /// can go on, whatever it waits for.
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.check()?;
        let mut state = self.manager.lock();
        let connection = state
            .slot(self.space)
            .and_then(|slot| slot.connection.as_mut());
        let Some(connection) = connection else {
            return Err(Error::new(
                ErrorKind::BadSequence,
                "another thread waits for a response on this context",
            ));
        };
        if connection.wakeups.is_none() {
            connection.below.poll_handles()?;
            connection.wakeups = Some(Wakeups::new()?);
        }
        let handle = connection.wakeups.as_ref().map(Wakeups::handle);
        state.refresh(self.space);
        Ok(handle.into_iter().collect())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.check()?;
        self.manager
            .with_below(self.space, |below| below.set_locality(locality))
    }

    /// With `sticky`, the object stays loaded when the layer is closed, and the
    /// TPM's own handle is returned, which the object has from now on. Without
    /// `sticky`, the layer manages the object again, by a virtual handle.
    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.check()?;
        let task = Task::Sticky { handle, sticky };
        let answer = self.manager.run(self.space, task, PATIENCE)?;
        let Some(answer) = answer.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
            return Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "no object or session with the handle 0x{handle:08x} is loaded in this context"
                ),
            ));
        };
        // A resource manager below must leave it loaded too.
        let below = self.manager.with_below(self.space, |below| match sticky {
            true => below.make_sticky(answer, true),
            false => below.make_sticky(handle, false),
        });
        match below {
            Err(error) if error.kind() != ErrorKind::NotImplemented => Err(error),
            _ => Ok(answer),
        }
    }

    fn reset(&mut self) -> Result<()> {
        self.check()?;
        self.manager
            .run(self.space, Task::Reset, PATIENCE)
            .map(drop)
    }

    /// Makes a connection for this child, if the layer was opened with `fork=1`.
    fn after_fork(&mut self) -> Result<()> {
        if !self.forks {
            return Err(Error::new(
                ErrorKind::BadContext,
                "this context was opened before fork() and belongs to the parent process; open \
                 another one in the child, or open the parent's with the option fork=1 \
                 (rm,fork=1:...)",
            ));
        }
        self.manager.enter_child(self.space)?;
        self.awaits = false;
        self.generation.renew();
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        let below = self
            .manager
            .with_below(self.space, |below| Ok(below.peer()))
            .ok()?;
        Some(Peer {
            has_view: true,
            ..below.unwrap_or_default()
        })
    }

    /// Flushes all that this client loaded, except sessions that it saved and
    /// handles that it made sticky. A command under way is cancelled if the
    /// transport can do that.
    fn finalize(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_open) || self.check().is_err() {
            return Ok(());
        }
        if self.awaits {
            self.end_command();
        }
        if let Err(error) = self.manager.run(self.space, Task::Close, PATIENCE) {
            crate::sys::log::debug!("rm: closing: {}", error.report());
        }
        match self.manager.remove(self.space) {
            Some(mut below) => below.finalize(),
            None => Ok(()),
        }
    }
}

impl Rm {
    /// Waits for the end of a command whose response is not wanted any more.
    fn end_command(&mut self) {
        if let Some(cancel) = self.canceller() {
            if let Err(error) = cancel.cancel() {
                crate::sys::log::debug!("rm: cancelling: {}", error.report());
            }
        }
        let ended = self
            .manager
            .finish(self.space, Some(PATIENCE), |answer| Ok(answer.len()));
        if ended.is_err() {
            self.manager.give_up(self.space);
        }
    }
}

impl Drop for Rm {
    fn drop(&mut self) {
        if let Err(error) = self.finalize() {
            crate::sys::log::debug!("rm: {}", error.report());
        }
    }
}
