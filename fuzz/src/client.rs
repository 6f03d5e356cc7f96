// SPDX-License-Identifier: BSD-2-Clause
//! A C caller that checks the contract of a context, whatever its TPM does.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use rusttcti::header::Header;
use rusttcti::wire::CommandCode;
use rusttcti::{__private as private, Context, Tcti};
use rusttcti_kit::commands::command;
use rusttcti_kit::vtable::{Vtable, rc};

/// No call takes longer that was not told to wait for ever. A peer that says
/// nothing is given 20 ms; this is for a machine that has much else to do.
const LONGEST: Duration = Duration::from_secs(10);
/// The size of the largest response.
const MAX_SIZE: usize = 4096;
const CANARY: u8 = 0xa5;

/// What a peer, however hostile, can make a call fail with. A panic in a
/// transport is a GENERAL_FAILURE, which is none of them.
const PEERS: [u32; 4] = [
    rc::NO_CONNECTION,
    rc::IO_ERROR,
    rc::MALFORMED_RESPONSE,
    rc::TRY_AGAIN,
];

/// The text of the last failure.
pub(crate) fn last_error() -> String {
    // SAFETY: a C string of this thread's, which no call changes until it is copied.
    let text = unsafe { CStr::from_ptr(private::last_text()) };
    text.to_string_lossy().into_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Transmit,
    Receive,
}

/// A context and the state that it must be in.
pub(crate) struct Client<T: Tcti + 'static> {
    context: Context<T>,
    state: State,
    /// The size of a response that the caller had no room for.
    kept: Option<usize>,
}

impl<T: Tcti> Client<T> {
    pub(crate) fn new(tcti: T) -> Self {
        Self {
            context: Context::new(tcti),
            state: State::Transmit,
            kept: None,
        }
    }

    fn c(&self) -> Vtable {
        Vtable(self.context.as_ptr())
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state == State::Receive
    }

    /// Makes a call; it must take its time, and a failure must have words.
    fn call(&self, name: &str, waits: bool, call: impl FnOnce(Vtable) -> u32) -> u32 {
        let began = Instant::now();
        let code = call(self.c());
        let took = began.elapsed();
        assert!(waits || took < LONGEST, "{name} took {took:?}");
        if code != rc::SUCCESS {
            let text = last_error();
            assert!(!text.is_empty(), "{name}: 0x{code:x} without a word");
            assert_ne!(code, rc::GENERAL_FAILURE, "{name}: {text}");
        }
        code
    }

    fn failed(name: &str, code: u32, allowed: &[u32]) {
        let text = last_error();
        assert!(allowed.contains(&code), "{name}: 0x{code:x}: {text}");
    }

    pub(crate) fn transmit(&mut self, command: &[u8]) -> bool {
        let code = self.call("transmit", false, |c| c.transmit(command));
        match (self.state, Header::fits(command)) {
            (State::Receive, _) => assert_eq!(code, rc::BAD_SEQUENCE),
            (_, false) => assert_eq!(code, rc::BAD_VALUE),
            _ if code == rc::SUCCESS => {
                self.state = State::Receive;
                self.kept = None;
            }
            _ => Self::failed("transmit", code, &PEERS),
        }
        code == rc::SUCCESS
    }

    /// Sends TPM2_GetRandom, or what looks like it, of so many bytes more.
    pub(crate) fn send(&mut self, more: usize) -> bool {
        self.transmit(&command(CommandCode::GET_RANDOM, &vec![0x5a; more]))
    }

    /// Receives into so many bytes; the response if there is one.
    pub(crate) fn receive(&mut self, capacity: usize, timeout: i32) -> Option<Vec<u8>> {
        let mut buffer = vec![CANARY; capacity + 64];
        let mut size = capacity as u64;
        let pointer = buffer.as_mut_ptr();
        let code = self.call("receive", timeout == -1, |c| {
            c.receive_raw(&mut size, pointer, timeout)
        });
        let size = size as usize;
        let beyond = &buffer[capacity..];
        assert!(
            beyond.iter().all(|byte| *byte == CANARY),
            "receive wrote beyond the caller's buffer"
        );
        if self.state == State::Transmit {
            assert_eq!(code, rc::BAD_SEQUENCE);
            return None;
        }
        if timeout < -1 {
            assert_eq!(code, rc::BAD_VALUE);
            return None;
        }
        if let Some(kept) = self.kept {
            let expected = match kept <= capacity {
                true => rc::SUCCESS,
                false => rc::INSUFFICIENT_BUFFER,
            };
            assert_eq!((code, size), (expected, kept), "a response that was kept");
        }
        match code {
            rc::SUCCESS => {
                assert!(size <= capacity.min(MAX_SIZE), "{size} bytes in {capacity}");
                buffer.truncate(size);
                assert!(Header::fits(&buffer), "malformed: {buffer:02x?}");
                self.state = State::Transmit;
                self.kept = None;
                return Some(buffer);
            }
            rc::INSUFFICIENT_BUFFER => {
                assert!(size > capacity && size <= MAX_SIZE, "{size} in {capacity}");
                self.kept = Some(size);
            }
            rc::TRY_AGAIN => assert_ne!(timeout, -1, "there is no time that ran out"),
            code => {
                Self::failed("receive", code, &PEERS);
                self.state = State::Transmit;
            }
        }
        None
    }

    /// Asks for the size by a NULL buffer.
    pub(crate) fn size(&mut self) {
        let mut size = 0;
        let code = self.call("receive", false, |c| {
            c.receive_raw(&mut size, std::ptr::null_mut(), 0)
        });
        if self.state == State::Transmit {
            assert_eq!(code, rc::BAD_SEQUENCE);
            return;
        }
        let expected = self.kept.unwrap_or(MAX_SIZE);
        assert_eq!((code, size as usize), (rc::SUCCESS, expected));
    }

    pub(crate) fn cancel(&mut self) {
        let code = self.call("cancel", false, |c| c.cancel());
        match (self.state, code) {
            (State::Transmit, code) => assert_eq!(code, rc::BAD_SEQUENCE),
            (_, rc::SUCCESS | rc::NOT_IMPLEMENTED) => {}
            (_, code) => Self::failed("cancel", code, &PEERS),
        }
    }

    pub(crate) fn set_locality(&mut self, locality: u8) {
        let code = self.call("setLocality", false, |c| c.set_locality(locality));
        match (self.state, code) {
            (State::Receive, code) => assert_eq!(code, rc::BAD_SEQUENCE),
            (_, code) if matches!(locality, 5..=31) => assert_eq!(code, rc::BAD_VALUE),
            (_, rc::SUCCESS | rc::NOT_IMPLEMENTED) => {}
            (_, rc::BAD_VALUE) if locality > 4 => {}
            (_, code) => Self::failed("setLocality", code, &PEERS),
        }
    }

    pub(crate) fn poll_handles(&mut self, places: usize) {
        let (mut count, mut array) = (0, Vec::new());
        let code = self.call("getPollHandles", false, |c| {
            let (code, number, handles) = c.poll_handles(places);
            (count, array) = (number, handles);
            code
        });
        match code {
            rc::SUCCESS => {
                for handle in array.iter().take(count) {
                    // SAFETY: any number may be asked about.
                    let flags = unsafe { libc::fcntl(handle.fd, libc::F_GETFD) };
                    assert_ne!(flags, -1, "descriptor {} is not open", handle.fd);
                }
            }
            rc::INSUFFICIENT_BUFFER => assert!(count > places),
            // There is no connection now.
            rc::NOT_IMPLEMENTED | rc::BAD_SEQUENCE => {}
            code => Self::failed("getPollHandles", code, &PEERS),
        }
    }

    pub(crate) fn reset(&mut self) {
        let code = self.call("Reset", false, |c| {
            // SAFETY: a context of this library's, which is there until this is dropped.
            unsafe { private::reset(c.0) }
        });
        match (self.state, code) {
            (State::Receive, code) => assert_eq!(code, rc::BAD_SEQUENCE),
            (_, rc::SUCCESS | rc::NOT_IMPLEMENTED) => {}
            (_, code) => Self::failed("Reset", code, &PEERS),
        }
    }
}
