// SPDX-License-Identifier: BSD-2-Clause
//! A model of the bridge's state table. It returns the expected answer to any sequence
//! of calls on a context, whatever the transport does. The property tests and the
//! fuzzer generate the sequences.

mod calls;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use calls::make;
use rusttcti::{Cancel, Context, Error, PollHandle, Result};

use super::scripted::{Scripted, answer, put};
use super::vtable::{Vtable, rc};

/// A call that a caller may make.
#[derive(Clone, Debug)]
pub enum Call {
    /// A `transmit` of this command.
    Transmit(Command),
    /// A `receive`.
    Receive {
        /// The capacity of the buffer in bytes; `None` is a NULL buffer.
        capacity: Option<usize>,
        /// The timeout in milliseconds.
        timeout: i32,
        /// Whether the size is a NULL pointer.
        null_size: bool,
    },
    /// A `cancel`.
    Cancel,
    /// A `setLocality` of this locality.
    SetLocality(u8),
    /// A `getPollHandles`.
    PollHandles {
        /// The places of the array; `None` is a NULL array.
        places: Option<usize>,
        /// Whether the number is a NULL pointer.
        null_count: bool,
    },
    /// A `makeSticky`.
    MakeSticky {
        /// The handle; `None` is a NULL pointer.
        handle: Option<u32>,
        /// The value of `sticky`.
        sticky: u8,
    },
    /// A `finalize`.
    Finalize,
    /// Any call on a NULL context.
    OnNull(Function),
    /// Any call while bits of the magic are changed by this mask.
    OnOtherMagic(Function, u64),
}

/// A function of the vtable.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// `transmit`.
    Transmit,
    /// `receive`.
    Receive,
    /// `cancel`.
    Cancel,
    /// `setLocality`.
    SetLocality,
    /// `getPollHandles`.
    PollHandles,
    /// `makeSticky`.
    MakeSticky,
    /// `finalize`.
    Finalize,
}

/// A command that a caller may send.
#[derive(Clone, Debug)]
pub enum Command {
    /// A command with a body of this many bytes.
    Good(usize),
    /// A NULL pointer.
    Null,
    /// A command of this many bytes, fewer than a header has.
    Short(usize),
    /// A command of 12 bytes whose header states this size.
    Lying(u32),
}

/// The transport's behaviour at its next call.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Succeeds, with a response of this many bytes.
    Works(usize),
    /// Fails with this response code.
    Fails(u32),
    /// Returns this many bytes, whose header states another size.
    Lies(usize),
    /// Returns a length greater than the buffer's.
    Overclaims,
    /// Panics.
    Panics,
}

/// The size of the poll handles' list of a transport that has none.
pub const NO_HANDLES: usize = usize::MAX;

type Script = Arc<Mutex<VecDeque<Behaviour>>>;

fn next(script: &Script) -> Behaviour {
    script
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or(Behaviour::Works(12))
}

fn panics<T>() -> T {
    // It unwinds as a panic does, without the message on standard error.
    std::panic::resume_unwind(Box::new("as the model says"))
}

/// Applies the next behaviour to a call without a response.
fn simple(script: &Script) -> Result<()> {
    match next(script) {
        Behaviour::Fails(code) => Err(Error::from_rc(code)),
        Behaviour::Panics => panics(),
        _ => Ok(()),
    }
}

struct Cancels(Script);

impl Cancel for Cancels {
    fn cancel(&self) -> Result<()> {
        simple(&self.0)
    }
}

fn scripted(script: &Script, max_size: usize, handles: usize) -> Scripted {
    let script = || script.clone();
    let (sends, receives, places, sticks) = (script(), script(), script(), script());
    let (polls, ends) = (script(), script());
    Scripted {
        transmit: Box::new(move |command| {
            assert!(rusttcti::header::Header::fits(command), "unchecked command");
            simple(&sends)
        }),
        receive: Box::new(move |response, _| {
            assert_eq!(response.len(), max_size, "the room for a response");
            match next(&receives) {
                Behaviour::Works(size) => put(response, &answer(size)),
                Behaviour::Lies(size) => {
                    let mut lie = answer(64)[..size.min(64)].to_vec();
                    if let Some(size) = lie.get_mut(2..6) {
                        size.copy_from_slice(&u32::MAX.to_be_bytes());
                    }
                    put(response, &lie)
                }
                Behaviour::Overclaims => Ok(max_size + 1),
                Behaviour::Fails(code) => Err(Error::from_rc(code)),
                Behaviour::Panics => panics(),
            }
        }),
        canceller: Some(Arc::new(Cancels(script()))),
        poll_handles: Box::new(move |()| match handles {
            NO_HANDLES => Err(rusttcti::ErrorKind::NotImplemented.into()),
            _ => simple(&polls).map(|()| (0..handles as i32).map(PollHandle::readable).collect()),
        }),
        set_locality: Box::new(move |locality| {
            assert!(!matches!(locality, 5..=31), "unchecked locality");
            simple(&places)
        }),
        make_sticky: Box::new(move |(handle, sticky)| {
            simple(&sticks).map(|()| handle ^ 0x100 ^ u32::from(sticky))
        }),
        finalize: Box::new(move |()| simple(&ends)),
        ..Scripted::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Transmit,
    Receive,
    Final,
}

/// The state table of the design, implemented a second time.
struct Model {
    state: State,
    kept: Option<usize>,
    script: VecDeque<Behaviour>,
    max_size: usize,
    handles: usize,
    /// Whether the caller was told the number of handles, and may fetch them.
    counted: bool,
}

#[derive(Debug, PartialEq)]
struct Expected {
    code: u32,
    /// The value that the size, number or handle is set to, if it is set.
    size: Option<usize>,
}

fn code(code: u32) -> Expected {
    Expected { code, size: None }
}

impl Model {
    fn asked(&mut self) -> Behaviour {
        self.script.pop_front().unwrap_or(Behaviour::Works(12))
    }

    fn simple(&mut self) -> u32 {
        match self.asked() {
            Behaviour::Fails(failure) => failure,
            Behaviour::Panics => rc::GENERAL_FAILURE,
            _ => rc::SUCCESS,
        }
    }

    fn expect(&mut self, call: &Call) -> Expected {
        let before = self.state;
        // Any other call may change the context's handles.
        if !matches!(call, Call::PollHandles { .. } | Call::Cancel) {
            let reaches = match call {
                Call::Transmit(_) | Call::SetLocality(_) | Call::MakeSticky { .. } => {
                    before == State::Transmit
                }
                Call::Receive { .. } => before == State::Receive,
                _ => false,
            };
            if reaches {
                self.counted = false;
            }
        }
        match (call, self.state) {
            (Call::OnNull(Function::Finalize) | Call::OnOtherMagic(Function::Finalize, _), _) => {
                code(rc::SUCCESS)
            }
            (Call::OnNull(_), _) => code(rc::BAD_REFERENCE),
            (Call::OnOtherMagic(..), _) => code(rc::BAD_CONTEXT),
            (Call::Finalize, State::Final) => code(rc::SUCCESS),
            (Call::Finalize, _) => {
                self.asked();
                self.state = State::Final;
                code(rc::SUCCESS)
            }
            (_, State::Final) => code(rc::BAD_SEQUENCE),
            (Call::PollHandles { places, null_count }, _) => self.poll(*places, *null_count),
            (
                Call::Transmit(_) | Call::SetLocality(_) | Call::MakeSticky { .. },
                State::Receive,
            )
            | (Call::Receive { .. } | Call::Cancel, State::Transmit) => code(rc::BAD_SEQUENCE),
            (Call::Cancel, State::Receive) => code(self.simple()),
            (Call::SetLocality(5..=31), State::Transmit) => code(rc::BAD_VALUE),
            (Call::SetLocality(_), State::Transmit) => code(self.simple()),
            (Call::MakeSticky { handle: None, .. }, State::Transmit) => code(rc::BAD_REFERENCE),
            (
                Call::MakeSticky {
                    handle: Some(handle),
                    sticky,
                },
                State::Transmit,
            ) => {
                let code = self.simple();
                let becomes = (handle ^ 0x100 ^ u32::from(*sticky != 0)) as usize;
                Expected {
                    code,
                    size: (code == rc::SUCCESS).then_some(becomes),
                }
            }
            (Call::Transmit(Command::Null), State::Transmit) => code(rc::BAD_REFERENCE),
            (Call::Transmit(Command::Short(_)), State::Transmit) => code(rc::BAD_VALUE),
            (Call::Transmit(Command::Lying(size)), State::Transmit) if *size != 12 => {
                code(rc::BAD_VALUE)
            }
            (Call::Transmit(_), State::Transmit) => {
                // A new command discards the response of the command before.
                self.kept = None;
                let sent = self.simple();
                if sent == rc::SUCCESS {
                    self.state = State::Receive;
                }
                code(sent)
            }
            (
                Call::Receive {
                    null_size: true, ..
                },
                State::Receive,
            ) => code(rc::BAD_REFERENCE),
            (Call::Receive { timeout, .. }, State::Receive) if *timeout < -1 => code(rc::BAD_VALUE),
            (Call::Receive { capacity: None, .. }, State::Receive) => Expected {
                code: rc::SUCCESS,
                size: Some(self.kept.unwrap_or(self.max_size)),
            },
            (
                Call::Receive {
                    capacity: Some(capacity),
                    ..
                },
                State::Receive,
            ) => self.receive(*capacity),
        }
    }

    fn poll(&mut self, places: Option<usize>, null_count: bool) -> Expected {
        if null_count {
            return code(rc::BAD_REFERENCE);
        }
        if self.handles == NO_HANDLES {
            return code(rc::NOT_IMPLEMENTED);
        }
        // Handles that were counted are returned without asking the transport again.
        let fetched = places.is_some() && std::mem::take(&mut self.counted);
        if !fetched {
            self.counted = false;
            let asked = self.simple();
            if asked != rc::SUCCESS {
                return code(asked);
            }
        }
        let enough = places.is_some_and(|places| places >= self.handles);
        self.counted = !enough;
        Expected {
            code: match (places, enough) {
                (Some(_), false) => rc::INSUFFICIENT_BUFFER,
                _ => rc::SUCCESS,
            },
            size: Some(self.handles),
        }
    }

    fn receive(&mut self, capacity: usize) -> Expected {
        if self.kept.is_none() {
            match self.asked() {
                Behaviour::Works(size) if size <= self.max_size => self.kept = Some(size),
                Behaviour::Fails(failure) => {
                    let base = failure & 0xffff;
                    // Layer 0 holds the TPM's own codes.
                    if failure & 0x00ff_0000 == 0 || ![5, 6, 9, 11].contains(&base) {
                        self.state = State::Transmit;
                    }
                    return code(failure);
                }
                Behaviour::Works(_) | Behaviour::Lies(_) | Behaviour::Overclaims => {
                    self.state = State::Transmit;
                    return code(rc::MALFORMED_RESPONSE);
                }
                Behaviour::Panics => {
                    self.state = State::Transmit;
                    return code(rc::GENERAL_FAILURE);
                }
            }
        }
        match self.kept {
            Some(size) if size > capacity => Expected {
                code: rc::INSUFFICIENT_BUFFER,
                size: Some(size),
            },
            size => {
                self.kept = None;
                self.state = State::Transmit;
                Expected {
                    code: rc::SUCCESS,
                    size,
                }
            }
        }
    }
}

/// Makes these calls on a context over a transport with these behaviours, and compares
/// each answer with the model's.
///
/// # Panics
/// If an answer differs.
pub fn check(calls: &[Call], behaviours: &[Behaviour], max_size: usize, handles: usize) {
    let script: Script = Arc::new(Mutex::new(behaviours.to_vec().into()));
    let transport = scripted(&script, max_size, handles);
    let log = transport.log.clone();
    let context = Context::builder().max_size(max_size).build(transport);
    let c = Vtable(context.as_ptr());
    let mut model = Model {
        state: State::Transmit,
        kept: None,
        script: behaviours.to_vec().into(),
        max_size,
        handles,
        counted: false,
    };
    for (at, call) in calls.iter().enumerate() {
        let expected = model.expect(call);
        let answered = make(c, call);
        assert_eq!(answered, expected, "call {at}: {call:?} of {calls:?}");
    }
    drop(context);
    let calls = log.calls();
    assert_eq!(log.count("finalize"), 1, "{calls:?}");
    assert_eq!(log.count("drop"), 1, "{calls:?}");
    assert_eq!(calls.last(), Some(&"drop"), "{calls:?}");
}
