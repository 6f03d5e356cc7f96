// SPDX-License-Identifier: BSD-2-Clause
//! Any sequence of calls, against a model of the bridge's table.

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use common::commands::get_random;
use common::scripted::{Scripted, answer, put};
use common::vtable::{Vtable, rc};
use proptest::prelude::*;
use rusttcti::{Cancel, Context, Error, Result};

/// What a caller may do.
#[derive(Clone, Debug)]
enum Call {
    Transmit(Command),
    Receive {
        capacity: Option<usize>,
        timeout: i32,
        null_size: bool,
    },
    Cancel,
    SetLocality(u8),
    PollHandles,
    Finalize,
}

#[derive(Clone, Debug)]
enum Command {
    Good,
    Null,
    Short(usize),
    Lying(u32),
}

/// What the transport does when it is asked next.
#[derive(Clone, Debug)]
enum Behaviour {
    Works(usize),
    Fails(u32),
    Lies(usize),
    Panics,
}

fn call() -> impl Strategy<Value = Call> {
    let command = prop_oneof![
        6 => Just(Command::Good),
        1 => Just(Command::Null),
        1 => (0..10usize).prop_map(Command::Short),
        1 => any::<u32>().prop_filter("not the truth", |n| *n != 12).prop_map(Command::Lying),
    ];
    let capacity = prop_oneof![
        1 => Just(None),
        6 => Just(Some(4096)),
        3 => (0..64usize).prop_map(Some),
    ];
    let timeout = prop_oneof![6 => -1..1000i32, 1 => i32::MIN..-1];
    prop_oneof![
        8 => command.prop_map(Call::Transmit),
        8 => (capacity, timeout, prop::bool::weighted(0.1))
            .prop_map(|(capacity, timeout, null_size)| Call::Receive { capacity, timeout, null_size }),
        2 => Just(Call::Cancel),
        2 => any::<u8>().prop_map(Call::SetLocality),
        1 => Just(Call::PollHandles),
        1 => Just(Call::Finalize),
    ]
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    let codes = prop::sample::select(vec![
        rc::TRY_AGAIN,
        rc::INSUFFICIENT_BUFFER,
        rc::BAD_REFERENCE,
        rc::BAD_VALUE,
        rc::IO_ERROR,
        rc::NO_CONNECTION,
        rc::GENERAL_FAILURE,
        rc::BAD_SEQUENCE,
        0x000b_0009,
        0x0000_0922,
    ]);
    prop_oneof![
        6 => (10..48usize).prop_map(Behaviour::Works),
        4 => codes.prop_map(Behaviour::Fails),
        1 => (0..48usize).prop_map(Behaviour::Lies),
        1 => Just(Behaviour::Panics),
    ]
}

type Script = Arc<Mutex<VecDeque<Behaviour>>>;

fn next(script: &Script) -> Behaviour {
    script
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or(Behaviour::Works(12))
}

struct Cancels;

impl Cancel for Cancels {
    fn cancel(&self) -> Result<()> {
        Ok(())
    }
}

fn scripted(script: &Script) -> Scripted {
    let (sends, receives) = (script.clone(), script.clone());
    Scripted {
        transmit: Box::new(move |_| match next(&sends) {
            Behaviour::Fails(code) => Err(Error::from_rc(code)),
            Behaviour::Panics => std::panic::resume_unwind(Box::new("as the model says")),
            _ => Ok(()),
        }),
        receive: Box::new(move |response, _| match next(&receives) {
            Behaviour::Works(size) => put(response, &answer(size)),
            Behaviour::Lies(size) => {
                // Never what its header says.
                let mut lie = answer(64)[..size].to_vec();
                if let Some(size) = lie.get_mut(2..6) {
                    size.copy_from_slice(&u32::MAX.to_be_bytes());
                }
                put(response, &lie)
            }
            Behaviour::Fails(code) => Err(Error::from_rc(code)),
            Behaviour::Panics => std::panic::resume_unwind(Box::new("as the model says")),
        }),
        canceller: Some(Arc::new(Cancels)),
        ..Scripted::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Transmit,
    Receive,
    Final,
}

/// The table of the design, read once more.
struct Model {
    state: State,
    kept: Option<usize>,
    script: VecDeque<Behaviour>,
}

impl Model {
    fn asked(&mut self) -> Behaviour {
        self.script.pop_front().unwrap_or(Behaviour::Works(12))
    }

    fn expect(&mut self, call: &Call) -> Expected {
        let code = |code| Expected { code, size: None };
        match (call, self.state) {
            (Call::Finalize, _) => {
                self.state = State::Final;
                code(rc::SUCCESS)
            }
            (_, State::Final) => code(rc::BAD_SEQUENCE),
            (Call::PollHandles, _) => code(rc::NOT_IMPLEMENTED),
            (Call::Transmit(_) | Call::SetLocality(_), State::Receive)
            | (Call::Receive { .. } | Call::Cancel, State::Transmit) => code(rc::BAD_SEQUENCE),
            (Call::Cancel, State::Receive) => code(rc::SUCCESS),
            (Call::SetLocality(5..=31), State::Transmit) => code(rc::BAD_VALUE),
            (Call::SetLocality(_), State::Transmit) => code(rc::SUCCESS),
            (Call::Transmit(Command::Null), State::Transmit) => code(rc::BAD_REFERENCE),
            (Call::Transmit(Command::Short(_) | Command::Lying(_)), State::Transmit) => {
                code(rc::BAD_VALUE)
            }
            (Call::Transmit(Command::Good), State::Transmit) => match self.asked() {
                Behaviour::Fails(failure) => code(failure),
                Behaviour::Panics => code(rc::GENERAL_FAILURE),
                _ => {
                    self.state = State::Receive;
                    code(rc::SUCCESS)
                }
            },
            (
                Call::Receive {
                    null_size: true, ..
                },
                State::Receive,
            ) => code(rc::BAD_REFERENCE),
            (Call::Receive { timeout, .. }, State::Receive) if *timeout < -1 => code(rc::BAD_VALUE),
            (Call::Receive { capacity: None, .. }, State::Receive) => Expected {
                code: rc::SUCCESS,
                size: Some(self.kept.unwrap_or(4096)),
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

    fn receive(&mut self, capacity: usize) -> Expected {
        let failed = |code| Expected { code, size: None };
        if self.kept.is_none() {
            match self.asked() {
                Behaviour::Works(size) => self.kept = Some(size),
                Behaviour::Fails(code) => {
                    let base = code & 0xffff;
                    if code < 0x10000 || ![5, 6, 9, 11].contains(&base) {
                        self.state = State::Transmit;
                    }
                    return failed(code);
                }
                Behaviour::Lies(_) => {
                    self.state = State::Transmit;
                    return failed(rc::MALFORMED_RESPONSE);
                }
                Behaviour::Panics => {
                    self.state = State::Transmit;
                    return failed(rc::GENERAL_FAILURE);
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

#[derive(Debug, PartialEq)]
struct Expected {
    code: u32,
    /// What `*size` becomes, where that is told.
    size: Option<usize>,
}

fn make(c: Vtable, call: &Call) -> Expected {
    let code = |code| Expected { code, size: None };
    match call {
        Call::Transmit(Command::Good) => code(c.transmit(&get_random(16))),
        Call::Transmit(Command::Null) => code(c.transmit_raw(12, std::ptr::null())),
        Call::Transmit(Command::Short(length)) => code(c.transmit(&get_random(16)[..*length])),
        Call::Transmit(Command::Lying(size)) => {
            let mut lying = get_random(16);
            lying[2..6].copy_from_slice(&size.to_be_bytes());
            code(c.transmit(&lying))
        }
        Call::Receive {
            null_size: true,
            timeout,
            ..
        } => code(c.receive_raw(std::ptr::null_mut(), [0; 64].as_mut_ptr(), *timeout)),
        Call::Receive {
            capacity, timeout, ..
        } => {
            // Canaries stand behind what the caller says it has.
            let given = capacity.unwrap_or(0);
            let mut buffer = vec![0xa5; given + 64];
            let pointer = if capacity.is_some() {
                buffer.as_mut_ptr()
            } else {
                std::ptr::null_mut()
            };
            let mut size = given as u64;
            let answered = c.receive_raw(&mut size, pointer, *timeout);
            assert!(
                buffer[given..].iter().all(|byte| *byte == 0xa5),
                "beyond the buffer"
            );
            let told = answered == rc::SUCCESS || size != given as u64;
            if answered == rc::SUCCESS && capacity.is_some() {
                assert_eq!(buffer[..size as usize], answer(size as usize));
            }
            Expected {
                code: answered,
                size: told.then_some(size as usize),
            }
        }
        Call::Cancel => code(c.cancel()),
        Call::SetLocality(locality) => code(c.set_locality(*locality)),
        Call::PollHandles => code(c.poll_handles(0).0),
        Call::Finalize => {
            c.finalize();
            code(rc::SUCCESS)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_calls_is_answered_as_the_table_says(
        calls in prop::collection::vec(call(), 1..40),
        behaviours in prop::collection::vec(behaviour(), 0..40),
    ) {
        let script: Script = Arc::new(Mutex::new(behaviours.clone().into()));
        let context = Context::new(scripted(&script));
        let c = Vtable(context.as_ptr());
        let mut model = Model { state: State::Transmit, kept: None, script: behaviours.into() };
        for (at, call) in calls.iter().enumerate() {
            let expected = model.expect(call);
            prop_assert_eq!(make(c, call), expected, "call {}: {:?}", at, call);
        }
    }
}
