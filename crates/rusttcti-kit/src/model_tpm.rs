// SPDX-License-Identifier: BSD-2-Clause
//! A model of a TPM's memory for objects and sessions: bytes in, bytes out, without
//! cryptography.
//!
//! It has a number of places for objects and sessions, counts contexts, and refuses as
//! the specification (and its reference implementation) does, with capacities that a
//! test chooses. Its answers identify an object or session: ReadPublic of an object
//! returns its seed, and a sequence's digest is its data.
//!
//! | command | effect here |
//! | --- | --- |
//! | CreatePrimary | makes an object of the hierarchy, whose seed is the last byte of the template |
//! | ReadPublic | returns the seed |
//! | HMAC | returns the seed; takes a session |
//! | HashSequenceStart, SequenceUpdate, SequenceComplete | collect bytes |
//! | StartAuthSession, PolicyCpHash, PolicyGetDigest | a session that collects bytes |
//! | ContextSave, ContextLoad, FlushContext | as Part 3 has them |
//! | Clear, HierarchyControl, Startup | end objects |
//! | GetCapability, ReadClock | handles and properties, the number of resets |

mod commands;
mod memory;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusttcti::{Error, ErrorKind, Peer, Result, Tcti};

use memory::Memory;
pub use memory::Sizes;

/// A model TPM; clones are connections to the same one.
#[derive(Clone, Debug)]
pub struct ModelTpm {
    memory: Arc<Mutex<Memory>>,
    peer: Peer,
    response: Option<Vec<u8>>,
    /// Whether the first `receive` of each response times out.
    is_slow: bool,
    waited: bool,
    commands: Arc<Mutex<Vec<u32>>>,
}

impl ModelTpm {
    /// Returns a TPM after TPM2_Startup.
    pub fn new(sizes: Sizes) -> Self {
        Self {
            memory: Arc::new(Mutex::new(Memory::new(sizes))),
            peer: Peer::default(),
            response: None,
            is_slow: false,
            waited: false,
            commands: Arc::default(),
        }
    }

    /// Sets the facts about the TPM that the layer rm is told.
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    /// Makes the first `receive` of each response fail with TRY_AGAIN.
    pub fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    /// Restarts the TPM: all volatile state is lost, and Startup is done.
    pub fn restart(&self) {
        self.with(Memory::restart);
    }

    /// Returns how many objects and sessions are loaded.
    pub fn loaded(&self) -> (usize, usize) {
        self.with(|memory| memory.loaded())
    }

    /// Returns how many sessions are active: loaded or saved.
    pub fn active(&self) -> usize {
        self.with(|memory| memory.active())
    }

    /// Returns the codes of the commands that came since the last call.
    pub fn take_commands(&self) -> Vec<u32> {
        std::mem::take(&mut *self.commands.lock().expect("a list"))
    }

    /// Returns the response to a command.
    pub fn answer(&self, command: &[u8]) -> Vec<u8> {
        self.with(|memory| commands::answer(memory, command))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().expect("a TPM"))
    }
}

impl Tcti for ModelTpm {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        if self.response.is_some() {
            return Err(Error::new(ErrorKind::BadSequence, "a response is awaited"));
        }
        let code = command.get(6..10).and_then(|code| code.first_chunk());
        let code = code.map_or(0, |code| u32::from_be_bytes(*code));
        self.commands.lock().expect("a list").push(code);
        self.response = Some(self.answer(command));
        self.waited = false;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        if self.is_slow && !std::mem::replace(&mut self.waited, true) {
            return Err(ErrorKind::TryAgain.into());
        }
        let Some(bytes) = self.response.take() else {
            return Err(Error::new(ErrorKind::BadSequence, "no command was sent"));
        };
        response[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn reset(&mut self) -> Result<()> {
        self.restart();
        Ok(())
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(self.peer.clone())
    }
}
