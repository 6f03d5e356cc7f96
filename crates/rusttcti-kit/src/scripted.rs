// SPDX-License-Identifier: BSD-2-Clause
//! A transport that behaves as a test specifies, and records its calls.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rusttcti::header::Header;
use rusttcti::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};

type Transmit = Box<dyn FnMut(&[u8]) -> Result<()> + Send>;
type Receive = Box<dyn FnMut(&mut [u8], Option<Duration>) -> Result<usize> + Send>;
type Simple<A, R> = Box<dyn FnMut(A) -> Result<R> + Send>;

/// A scripted transport. By default it takes every command and answers each with
/// [`answer`].
pub struct Scripted {
    /// The function that `transmit` calls.
    pub transmit: Transmit,
    /// The function that `receive` calls.
    pub receive: Receive,
    /// The canceller of each command.
    pub canceller: Option<Arc<dyn Cancel>>,
    /// The function that `poll_handles` calls.
    pub poll_handles: Simple<(), Vec<PollHandle>>,
    /// The function that `set_locality` calls.
    pub set_locality: Simple<u8, ()>,
    /// The function that `make_sticky` calls.
    pub make_sticky: Simple<(u32, bool), u32>,
    /// The function that `reset` calls.
    pub reset: Simple<(), ()>,
    /// The function that `finalize` calls.
    pub finalize: Simple<(), ()>,
    /// The log of the calls.
    pub log: Log,
    /// The value that logs the transport's drop.
    pub dropped: Dropped,
}

/// A value that logs its drop.
pub struct Dropped(Log);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add("drop");
    }
}

/// The log of called methods' names, and "drop".
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    /// Appends a call.
    pub fn add(&self, call: &'static str) {
        self.0.lock().unwrap().push(call);
    }

    /// Returns the calls so far.
    pub fn calls(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    /// Returns how often `call` was made.
    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|made| **made == call).count()
    }
}

/// Returns a well-formed response of `size` bytes: success, and a pattern.
pub fn answer(size: usize) -> Vec<u8> {
    let mut response = Header {
        tag: 0x8001,
        size: size as u32,
        code: 0,
    }
    .to_bytes()
    .to_vec();
    response.extend((Header::SIZE..size).map(|at| at as u8));
    response
}

/// Copies `bytes` to `response`, as a transport's receive does.
pub fn put(response: &mut [u8], bytes: &[u8]) -> Result<usize> {
    let length = bytes.len();
    response
        .get_mut(..length)
        .ok_or_else(|| Error::from(ErrorKind::MalformedResponse))?
        .copy_from_slice(bytes);
    Ok(length)
}

impl Default for Scripted {
    fn default() -> Self {
        let log = Log::default();
        Self {
            transmit: Box::new(|_| Ok(())),
            receive: Box::new(|response, _| put(response, &answer(28))),
            canceller: None,
            poll_handles: Box::new(|()| Err(ErrorKind::NotImplemented.into())),
            set_locality: Box::new(|_| Ok(())),
            make_sticky: Box::new(|(handle, _)| Ok(handle)),
            reset: Box::new(|()| Ok(())),
            finalize: Box::new(|()| Ok(())),
            dropped: Dropped(log.clone()),
            log,
        }
    }
}

impl Tcti for Scripted {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.log.add("transmit");
        (self.transmit)(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.log.add("receive");
        (self.receive)(response, timeout)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.canceller.clone()
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.log.add("poll_handles");
        (self.poll_handles)(())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.log.add("set_locality");
        (self.set_locality)(locality)
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.log.add("make_sticky");
        (self.make_sticky)((handle, sticky))
    }

    fn reset(&mut self) -> Result<()> {
        self.log.add("reset");
        (self.reset)(())
    }

    fn finalize(&mut self) -> Result<()> {
        self.log.add("finalize");
        (self.finalize)(())
    }
}
