// SPDX-License-Identifier: BSD-2-Clause
//! A context that Rust code uses through the trait `Tcti`.

use std::sync::Arc;
use std::time::Duration;

use rusttcti::{Cancel, Context, Error, ErrorKind, PollHandle, Result, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Log, Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};

fn context(scripted: Scripted) -> (Context<Scripted>, Log) {
    let log = scripted.log.clone();
    (Context::new(scripted), log)
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

#[test]
fn the_bridge_s_checks_stand_before_the_transport() {
    let (mut context, log) = context(Scripted::default());
    let mut response = [0; 64];
    let receive = |context: &mut Context<Scripted>, response: &mut [u8]| {
        context.receive(response, Some(Duration::ZERO))
    };
    assert_eq!(
        kind(receive(&mut context, &mut response)),
        ErrorKind::BadSequence
    );
    assert_eq!(kind(context.transmit(&[0x80, 1])), ErrorKind::BadValue);
    assert_eq!(kind(context.set_locality(7)), ErrorKind::BadValue);
    assert!(log.calls().is_empty(), "{:?}", log.calls());

    context.transmit(&get_random(16)).expect("sent");
    assert_eq!(
        kind(context.transmit(&get_random(16))),
        ErrorKind::BadSequence
    );
    assert_eq!(kind(context.set_locality(0)), ErrorKind::BadSequence);
    assert_eq!(kind(context.make_sticky(1, true)), ErrorKind::BadSequence);
    assert_eq!(kind(context.reset()), ErrorKind::BadSequence);
    let small = receive(&mut context, &mut response[..12]);
    assert_eq!(kind(small), ErrorKind::InsufficientBuffer);
    let length = receive(&mut context, &mut response).expect("kept");
    assert_eq!(response[..length], answer(28));
    assert_eq!(log.calls(), ["transmit", "receive"]);
}

#[test]
fn what_the_bridge_lets_through_reaches_the_transport() {
    let (mut context, log) = context(Scripted {
        poll_handles: Box::new(|()| Ok(vec![PollHandle::readable(3)])),
        make_sticky: Box::new(|(handle, sticky)| Ok(handle ^ u32::from(sticky))),
        ..Scripted::default()
    });
    let handles = context.poll_handles().expect("one");
    assert_eq!(handles, [PollHandle::readable(3)]);
    assert_eq!(context.make_sticky(6, true).expect("sticky"), 7);
    context.set_locality(3).expect("set");
    context.reset().expect("reset");
    assert_eq!(
        log.calls(),
        ["poll_handles", "make_sticky", "set_locality", "reset"]
    );
}

#[test]
fn errors_and_panics_come_back_as_they_are() {
    let mut first = true;
    let (mut context, _) = context(Scripted {
        receive: Box::new(move |response, _| {
            assert!(!std::mem::take(&mut first), "port 9 is on fire");
            put(response, &answer(28))
        }),
        set_locality: Box::new(|_| Err(std::io::Error::other("unplugged").into())),
        reset: Box::new(|()| panic!("no power")),
        ..Scripted::default()
    });
    let error = context.set_locality(1).expect_err("fails");
    let cause = error.get_ref().expect("a cause");
    assert!(cause.is::<std::io::Error>(), "{error:?}");
    let error = context.reset().expect_err("panics");
    assert_eq!(error.report(), "panic: no power");
    context.transmit(&get_random(16)).expect("sent");
    let error = context.receive(&mut [0; 64], None).expect_err("panics");
    assert_eq!(error.report(), "panic: port 9 is on fire");
    context.transmit(&get_random(16)).expect("it goes on");
    assert_eq!(context.receive(&mut [0; 64], None).expect("28"), 28);
}

#[test]
fn a_finalized_context_gives_no_transport_back_and_refuses_all() {
    let (mut context, log) = context(Scripted::default());
    context.finalize().expect("once");
    context.finalize().expect("twice is no harm");
    assert_eq!(log.calls(), ["finalize", "drop"]);
    assert_eq!(
        kind(context.transmit(&get_random(16))),
        ErrorKind::BadSequence
    );
    assert_eq!(kind(context.reset()), ErrorKind::BadSequence);
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
    assert!(context.into_inner().is_none());
}

#[test]
fn a_canceller_works_beside_a_call_and_harms_nobody_when_the_context_is_gone() {
    struct Told(std::sync::mpsc::Sender<()>);
    impl Cancel for Told {
        fn cancel(&self) -> Result<()> {
            self.0
                .send(())
                .map_err(|e| Error::new(ErrorKind::IoError, e))
        }
    }
    let (tell, told) = std::sync::mpsc::channel();
    let (mut context, _) = context(Scripted {
        canceller: Some(Arc::new(Told(tell))),
        receive: Box::new(move |response, _| {
            told.recv_timeout(PATIENCE).expect("it is cancelled");
            put(response, &answer(10))
        }),
        ..Scripted::default()
    });
    let canceller = context.canceller().expect("one");
    assert_eq!(kind(canceller.cancel()), ErrorKind::BadSequence);
    context.transmit(&get_random(16)).expect("sent");
    let from_elsewhere = canceller.clone();
    let cancelled = std::thread::spawn(move || from_elsewhere.cancel());
    assert_eq!(context.receive(&mut [0; 64], None).expect("cancelled"), 10);
    cancelled.join().expect("no panic").expect("told");
    drop(context);
    assert_eq!(kind(canceller.cancel()), ErrorKind::BadSequence);
}

#[test]
fn a_context_around_a_context_is_one() {
    let (inner, log) = context(Scripted::default());
    let mut outer = Context::builder().max_size(32).build(inner);
    outer.transmit(&get_random(16)).expect("sent");
    assert_eq!(outer.receive(&mut [0; 64], None).expect("28"), 28);
    let inner = outer.into_inner().expect("not finalized");
    drop(inner.into_inner().expect("not finalized"));
    assert_eq!(log.calls(), ["transmit", "receive", "drop"]);
}

#[test]
fn a_context_tells_the_error_that_a_call_from_c_failed_with_and_its_cause() {
    let mut unplugged = true;
    let (context, _) = context(Scripted {
        transmit: Box::new(move |_| match std::mem::take(&mut unplugged) {
            true => Err(Error::from(std::io::Error::other("unplugged")).context("cannot send")),
            false => Ok(()),
        }),
        ..Scripted::default()
    });
    assert!(context.last_error().is_none());
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(16)), rc::IO_ERROR);
    let error = context.last_error().expect("it failed");
    assert_eq!(error.report(), "cannot send: unplugged");
    let cause = error.get_ref().and_then(|cause| cause.source());
    assert!(
        cause.is_some_and(|cause| cause.is::<std::io::Error>()),
        "{error:#?}"
    );

    // It stays the last failure, even if later calls succeed.
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    let still = context.last_error().expect("kept");
    assert_eq!(still.report(), "cannot send: unplugged");
    assert_eq!(c.set_locality(1), rc::BAD_SEQUENCE);
    let next = context.last_error().expect("another");
    assert_eq!(next.kind(), ErrorKind::BadSequence);
    c.finalize();
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
    let last = context.last_error().expect("one more");
    assert_eq!(last.to_string(), "the context was finalized");
}

#[test]
fn the_errors_of_two_contexts_are_two() {
    let (mut one, _) = context(Scripted::default());
    let (other, _) = context(Scripted::default());
    kind(one.set_locality(7));
    assert!(one.last_error().is_some());
    assert!(other.last_error().is_none());
}
