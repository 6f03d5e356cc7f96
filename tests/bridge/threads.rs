// SPDX-License-Identifier: BSD-2-Clause
//! One context, several threads: error codes at worst.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rusttcti::{Cancel, Context, ErrorKind, Result};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};

/// A response that comes when it is let go.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    /// Returns false if the time ran out.
    fn pass(&self, timeout: Option<Duration>) -> bool {
        let limit = timeout.unwrap_or(PATIENCE);
        let open = self.open.lock().unwrap();
        *self
            .changed
            .wait_timeout_while(open, limit, |open| !*open)
            .unwrap()
            .0
    }
}

impl Cancel for Gate {
    fn cancel(&self) -> Result<()> {
        self.open();
        Ok(())
    }
}

/// Returns a context whose receive reports that it waits, and then waits at the
/// gate.
fn gated(cancellable: bool) -> (Context<Scripted>, Arc<Gate>, Receiver<()>) {
    let gate = Arc::new(Gate::default());
    let (waiting, is_waiting) = channel();
    let at = gate.clone();
    let context = Context::new(Scripted {
        receive: Box::new(move |response, timeout| {
            let _ = waiting.send(());
            if at.pass(timeout) {
                put(response, &answer(28))
            } else {
                Err(ErrorKind::TryAgain.into())
            }
        }),
        canceller: cancellable.then(|| gate.clone() as Arc<dyn Cancel>),
        ..Scripted::default()
    });
    (context, gate, is_waiting)
}

/// Sends a command, and runs `meanwhile` while another thread waits for the
/// response, which must come whole in the end.
fn during_a_receive(c: Vtable, is_waiting: &Receiver<()>, meanwhile: impl FnOnce()) {
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    thread::scope(|scope| {
        let receiver = scope.spawn(move || c.receive(-1));
        is_waiting.recv().expect("it waits");
        meanwhile();
        assert_eq!(receiver.join().unwrap(), (rc::SUCCESS, answer(28)));
    });
}

#[test]
fn cancel_works_while_another_thread_waits_in_receive() {
    let (context, _gate, is_waiting) = gated(true);
    let c = Vtable(context.as_ptr());
    during_a_receive(c, &is_waiting, || {
        assert_eq!(c.cancel(), rc::SUCCESS);
    });
}

#[test]
fn other_calls_during_a_receive_get_an_error_and_harm_nothing() {
    let (context, gate, is_waiting) = gated(false);
    let c = Vtable(context.as_ptr());
    during_a_receive(c, &is_waiting, || {
        assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
        assert_eq!(c.receive(0).0, rc::BAD_SEQUENCE);
        assert_eq!(c.response_size().0, rc::BAD_SEQUENCE);
        assert_eq!(c.poll_handles(0).0, rc::BAD_SEQUENCE);
        assert_eq!(c.set_locality(1), rc::BAD_SEQUENCE);
        assert_eq!(c.make_sticky(&mut 1, 1), rc::BAD_SEQUENCE);
        assert_eq!(c.cancel(), rc::NOT_IMPLEMENTED);
        gate.open();
    });
}

#[test]
fn finalize_cancels_and_outwaits_a_receive_of_another_thread() {
    let (context, _gate, is_waiting) = gated(true);
    let c = Vtable(context.as_ptr());
    during_a_receive(c, &is_waiting, || {
        c.finalize();
    });
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
}

#[test]
fn two_threads_hammering_one_context_get_whole_answers_or_codes() {
    let gate = Arc::new(Gate::default());
    gate.open();
    let context = Context::new(Scripted {
        canceller: Some(gate),
        poll_handles: Box::new(|()| Ok(vec![rusttcti::PollHandle::readable(1)])),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    let whole: usize = thread::scope(|scope| {
        let hammers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut whole = 0;
                    for round in 0..20_000 {
                        let sent = c.transmit(&get_random(16));
                        assert!([rc::SUCCESS, rc::BAD_SEQUENCE].contains(&sent), "{sent:x}");
                        let cancelled = c.cancel();
                        assert!([rc::SUCCESS, rc::BAD_SEQUENCE].contains(&cancelled));
                        let (received, response) = c.receive(0);
                        match received {
                            rc::SUCCESS => {
                                assert_eq!(response, answer(28));
                                whole += 1;
                            }
                            code => assert_eq!(code, rc::BAD_SEQUENCE),
                        }
                        if round % 16 == 0 {
                            c.poll_handles(1);
                            c.set_locality(1);
                        }
                    }
                    whole
                })
            })
            .collect();
        hammers
            .into_iter()
            .map(|hammer| hammer.join().unwrap())
            .sum()
    });
    assert!(whole > 0);
    c.finalize();
}

#[test]
fn threads_that_finalize_at_once_end_the_transport_once() {
    for _ in 0..200 {
        let scripted = Scripted::default();
        let log = scripted.log.clone();
        let context = Context::new(scripted);
        let c = Vtable(context.as_ptr());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(move || {
                    c.transmit(&get_random(16));
                    c.finalize();
                    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
                });
            }
        });
        assert_eq!((log.count("finalize"), log.count("drop")), (1, 1));
    }
}
