// SPDX-License-Identifier: BSD-2-Clause
//! The connection to an swtpm that all contexts of a process share with `persistent=1`.
//! A context borrows it from `transmit` to the response. If the exchange fails, the
//! context closes the connection instead of returning it.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::fork::{Generation, PerGeneration};
use crate::sys::locks::Mutex;
use crate::sys::long_wait::LongWait;
use crate::transport::socket::{Endpoint, Stream};
use crate::{Error, ErrorKind, Result};

/// A connection that was idle for longer is checked before it is used: swtpm may
/// have been restarted, or have sent something unasked. A busy connection saves
/// that system call.
const IDLE: Duration = Duration::from_millis(1);

/// How often a thread that waits gets the connection before the thread that returns it
/// may take it again. To do so each time would cost a change of threads a command.
const RESERVED_EVERY: Duration = Duration::from_millis(1);

/// The connections of this process.
static CONNECTIONS: PerGeneration<Mutex<Vec<Weak<SharedConnection>>>> =
    PerGeneration::new([const { Mutex::new(Vec::new()) }; 64]);

#[derive(Debug)]
pub(super) struct SharedConnection {
    endpoint: Endpoint,
    generation: Generation,
    wire: Mutex<Wire>,
    returned: Condvar,
}

#[derive(Debug)]
struct Wire {
    /// `None` while it is lent, and after it was lost.
    stream: Option<Stream>,
    lent: bool,
    /// Whether it is lent to whichever waiting thread runs first.
    reserved: bool,
    /// When it was reserved last.
    reserved_at: Instant,
    /// How many threads wait for it: waking costs a system call even if none does.
    waiting: usize,
    used: Instant,
}

impl Wire {
    /// Returns whether a thread that waits cannot have it yet.
    fn is_taken(&self) -> bool {
        self.lent && !self.reserved
    }
}

impl SharedConnection {
    /// Returns this process's connection to `endpoint`, and makes it if there is none.
    pub(super) fn of(endpoint: &Endpoint) -> Result<Arc<Self>> {
        let generation = Generation::current();
        let list = CONNECTIONS.of(generation);
        let known = |list: &Vec<Weak<Self>>| {
            list.iter()
                .filter_map(Weak::upgrade)
                .find(|shared| shared.generation == generation && shared.endpoint.is(endpoint))
        };
        if let Some(shared) = known(&list.lock()) {
            return Ok(shared);
        }
        // Not under the lock, since this may take its time.
        let mut endpoint = endpoint.clone();
        let stream = connect(&mut endpoint, Deadline::after(Some(PATIENCE)))?;
        let mut list = list.lock();
        if let Some(shared) = known(&list) {
            // Another thread was faster.
            stream.end();
            return Ok(shared);
        }
        list.retain(|shared| shared.strong_count() > 0);
        let shared = Arc::new(Self {
            endpoint,
            generation,
            wire: Mutex::new(Wire {
                stream: Some(stream),
                lent: false,
                reserved: false,
                reserved_at: Instant::now(),
                waiting: 0,
                used: Instant::now(),
            }),
            returned: Condvar::new(),
        });
        list.push(Arc::downgrade(&shared));
        Ok(shared)
    }

    /// Sends a command and lends the connection, until
    /// [`give_back`](Self::give_back). If `always_check` is set, a busy connection is
    /// checked too before it is used.
    ///
    /// # Errors
    /// [`ErrorKind::TryAgain`] while another context has it for too long.
    pub(super) fn send(
        &self,
        endpoint: &mut Endpoint,
        command: &[u8],
        always_check: bool,
    ) -> Result<Stream> {
        let borrowed = self.borrow(always_check)?;
        let deadline = Deadline::after(Some(PATIENCE));
        let sent = match borrowed {
            Some(stream) => match endpoint.send(&stream, &[], command, deadline) {
                // Not all of it was sent, so that it was not executed.
                Err(error) if error.kind() == ErrorKind::NoConnection => {
                    renew(endpoint, command, deadline)
                }
                Err(error) => {
                    stream.end();
                    Err(error)
                }
                Ok(()) => Ok(stream),
            },
            None => renew(endpoint, command, deadline),
        };
        if sent.is_err() {
            self.give_back(None);
        }
        sent
    }

    /// Borrows the connection. Returns `None` if there is none that works.
    fn borrow(&self, always_check: bool) -> Result<Option<Stream>> {
        let mut wire = self.wire.lock();
        if wire.lent {
            wire.waiting += 1;
            let deadline = Deadline::after(Some(PATIENCE));
            let mut waiting = LongWait::begin();
            while wire.is_taken() && !deadline.is_over() {
                let time = waiting.next(deadline).remaining().unwrap_or_default();
                let waited = self
                    .returned
                    .wait_timeout_while(wire, time, |wire| wire.is_taken());
                wire = waited.unwrap_or_else(PoisonError::into_inner).0;
                if wire.is_taken() {
                    waiting.log_if_long(|| {
                        format!(
                            "up to {} s for another context of this process to receive its \
                             response from {} (persistent=1)",
                            PATIENCE.as_secs(),
                            self.endpoint
                        )
                    });
                }
            }
            wire.waiting -= 1;
            if wire.is_taken() {
                return Err(Error::new(
                    ErrorKind::TryAgain,
                    format!(
                        "another context of this process still awaits a response over the \
                         connection to {} that they share (persistent=1)",
                        self.endpoint
                    ),
                ));
            }
        }
        wire.lent = true;
        wire.reserved = false;
        let used = wire.used;
        let Some(stream) = wire.stream.take() else {
            return Ok(None);
        };
        drop(wire);
        if (always_check || used.elapsed() > IDLE) && !stream.is_quiet() {
            stream.end();
            return Ok(None);
        }
        Ok(Some(stream))
    }

    /// Takes the connection back; `None` for one that cannot be used any more.
    pub(super) fn give_back(&self, stream: Option<Stream>) {
        let mut wire = self.wire.lock();
        wire.stream = stream;
        wire.used = Instant::now();
        let is_awaited = wire.waiting > 0;
        wire.reserved = is_awaited && wire.used - wire.reserved_at > RESERVED_EVERY;
        if wire.reserved {
            wire.reserved_at = wire.used;
        }
        wire.lent = wire.reserved;
        drop(wire);
        if is_awaited {
            self.returned.notify_one();
        }
    }

    /// Returns the descriptor of the connection while it is not lent.
    pub(super) fn raw_fd(&self) -> Result<RawFd> {
        match &self.wire.lock().stream {
            Some(stream) => Ok(stream.raw_fd()),
            None => Err(Error::new(
                ErrorKind::BadSequence,
                "there is no connection to poll before the next transmit",
            )),
        }
    }
}

impl Drop for SharedConnection {
    fn drop(&mut self) {
        if let Some(stream) = self.wire.get_mut().stream.take() {
            stream.end();
        }
        // An entry that stays would outlive this library. The lock is not waited
        // for: its holder may be the thread that drops this.
        if let Some(mut list) = CONNECTIONS.of(self.generation).try_lock() {
            list.retain(|shared| shared.strong_count() > 0);
            if list.is_empty() {
                *list = Vec::new();
            }
        }
    }
}

/// Returns a new connection over which the command was sent.
fn renew(endpoint: &mut Endpoint, command: &[u8], deadline: Deadline) -> Result<Stream> {
    let stream = connect(endpoint, deadline)?;
    endpoint.send(&stream, &[], command, deadline)?;
    Ok(stream)
}

/// Returns a connection that is read in one system call and written without delay.
fn connect(endpoint: &mut Endpoint, deadline: Deadline) -> Result<Stream> {
    let mut stream = endpoint.connect(deadline)?;
    stream.set_nodelay();
    stream
        .set_blocking(true)
        .map_err(|fault| fault.error(format!("cannot set up the connection to {endpoint}")))?;
    Ok(stream)
}
