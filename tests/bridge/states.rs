// SPDX-License-Identifier: BSD-2-Clause
//! Every cell of the bridge's table, through the C vtable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusttcti::{Cancel, Context, Error, ErrorKind, Result};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Log, Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};

/// A context of `scripted`, and its log.
fn context(scripted: Scripted) -> (Context<Scripted>, Vtable, Log) {
    let log = scripted.log.clone();
    let context = Context::new(scripted);
    let vtable = Vtable(context.as_ptr());
    (context, vtable, log)
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Cancel for Counter {
    fn cancel(&self) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn transmit_then_receive_round_and_round() {
    let (_context, c, log) = context(Scripted::default());
    for _ in 0..3 {
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));
    }
    assert_eq!(log.calls(), ["transmit", "receive"].repeat(3));
}

#[test]
fn receive_cancel_and_sizes_are_out_of_sequence_before_a_command() {
    let (_context, c, log) = context(Scripted::default());
    assert_eq!(c.receive(-1).0, rc::BAD_SEQUENCE);
    assert_eq!(c.response_size().0, rc::BAD_SEQUENCE);
    assert_eq!(c.cancel(), rc::BAD_SEQUENCE);
    assert_eq!(log.calls(), [""; 0], "none of them reached the transport");
}

#[test]
fn a_second_transmit_and_a_locality_are_out_of_sequence_before_the_response() {
    let (_context, c, log) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
    assert_eq!(c.set_locality(0), rc::BAD_SEQUENCE);
    assert_eq!(c.set_locality(9), rc::BAD_SEQUENCE, "the state comes first");
    assert_eq!(log.calls(), ["transmit"]);
    assert_eq!(c.receive(-1).0, rc::SUCCESS, "and the response still comes");
    assert_eq!(c.set_locality(3), rc::SUCCESS);
}

#[test]
fn a_transmit_that_fails_may_be_made_again() {
    let mut failures = vec![
        ErrorKind::NoConnection,
        ErrorKind::TryAgain,
        ErrorKind::IoError,
    ];
    let (_context, c, _) = context(Scripted {
        transmit: Box::new(move |_| failures.pop().map_or(Ok(()), |kind| Err(kind.into()))),
        ..Scripted::default()
    });
    for code in [rc::IO_ERROR, rc::TRY_AGAIN, rc::NO_CONNECTION] {
        assert_eq!(c.transmit(&get_random(16)), code);
        assert_eq!(c.receive(0).0, rc::BAD_SEQUENCE);
    }
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(0).0, rc::SUCCESS);
}

/// The codes after which receive may be called again, and those after which the
/// command is over.
#[test]
fn a_receive_that_fails_keeps_the_command_or_ends_it_as_the_table_says() {
    let stays = [
        (ErrorKind::TryAgain, rc::TRY_AGAIN),
        (ErrorKind::InsufficientBuffer, rc::INSUFFICIENT_BUFFER),
        (ErrorKind::BadReference, rc::BAD_REFERENCE),
        (ErrorKind::BadValue, rc::BAD_VALUE),
    ];
    let ends = [
        (ErrorKind::IoError, rc::IO_ERROR),
        (ErrorKind::NoConnection, rc::NO_CONNECTION),
        (ErrorKind::GeneralFailure, rc::GENERAL_FAILURE),
        (ErrorKind::MalformedResponse, rc::MALFORMED_RESPONSE),
        (ErrorKind::NotImplemented, rc::NOT_IMPLEMENTED),
        (ErrorKind::BadSequence, rc::BAD_SEQUENCE),
        (ErrorKind::NotPermitted, rc::NOT_PERMITTED),
    ];
    for (kind, code, pending) in stays
        .iter()
        .map(|(kind, code)| (*kind, *code, true))
        .chain(ends.iter().map(|(kind, code)| (*kind, *code, false)))
    {
        let mut failed = false;
        let (_context, c, log) = context(Scripted {
            receive: Box::new(move |response, _| {
                if std::mem::replace(&mut failed, true) {
                    return put(response, &answer(12));
                }
                Err(Error::new(kind, "as the test says"))
            }),
            ..Scripted::default()
        });
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        assert_eq!(c.receive(0).0, code, "{kind:?}");
        if pending {
            assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE, "{kind:?}");
            assert_eq!(c.receive(0), (rc::SUCCESS, answer(12)), "{kind:?}");
        } else {
            assert_eq!(c.receive(0).0, rc::BAD_SEQUENCE, "{kind:?}");
            assert_eq!(log.count("receive"), 1, "{kind:?}");
            assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS, "{kind:?}");
        }
    }
}

#[test]
fn a_foreign_response_code_passes_unchanged() {
    for code in [0x000b_0001, 0x0000_0101, 0x0009_0105, 0x000a_0016] {
        let (_context, c, _) = context(Scripted {
            transmit: Box::new(move |_| Err(Error::from_rc(code))),
            ..Scripted::default()
        });
        assert_eq!(c.transmit(&get_random(16)), code);
    }
}

#[test]
fn cancel_reaches_the_transport_while_its_response_is_awaited_and_only_then() {
    let counter = Arc::new(Counter::default());
    let (_context, c, _) = context(Scripted {
        canceller: Some(counter.clone()),
        ..Scripted::default()
    });
    assert_eq!(c.cancel(), rc::BAD_SEQUENCE);
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::SUCCESS, "it stays in receive");
    assert_eq!(
        c.receive(-1).0,
        rc::SUCCESS,
        "which brings the TPM's answer"
    );
    assert_eq!(c.cancel(), rc::BAD_SEQUENCE);
    assert_eq!(counter.0.load(Ordering::SeqCst), 2);
}

#[test]
fn a_cancel_that_fails_leaves_the_command_pending() {
    struct Fails;
    impl Cancel for Fails {
        fn cancel(&self) -> Result<()> {
            Err(ErrorKind::IoError.into())
        }
    }
    let (_context, c, _) = context(Scripted {
        canceller: Some(Arc::new(Fails)),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::IO_ERROR);
    assert_eq!(c.receive(-1).0, rc::SUCCESS);
}

#[test]
fn cancel_is_not_implemented_where_the_transport_never_has_a_canceller() {
    let (_context, c, _) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::NOT_IMPLEMENTED);
    assert_eq!(c.receive(-1).0, rc::SUCCESS);
}

#[test]
fn a_finalized_context_is_out_of_sequence_for_everything() {
    for pending in [false, true] {
        let (_context, c, log) = context(Scripted::default());
        if pending {
            assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        }
        c.finalize();
        let ended = log.calls();
        assert_eq!(&ended[ended.len() - 2..], ["finalize", "drop"]);

        assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
        assert_eq!(c.transmit_raw(0, std::ptr::null()), rc::BAD_SEQUENCE);
        assert_eq!(c.receive(-1).0, rc::BAD_SEQUENCE);
        assert_eq!(c.response_size().0, rc::BAD_SEQUENCE);
        assert_eq!(c.cancel(), rc::BAD_SEQUENCE);
        assert_eq!(c.poll_handles(0).0, rc::BAD_SEQUENCE);
        assert_eq!(c.set_locality(0), rc::BAD_SEQUENCE);
        assert_eq!(c.make_sticky(&mut 0x8000_0000, 1), rc::BAD_SEQUENCE);
        c.finalize();
        assert_eq!(
            log.calls(),
            ended,
            "the transport is gone and asked nothing more"
        );
    }
}

#[test]
fn a_finalize_that_fails_or_panics_still_ends_the_transport() {
    for panics in [false, true] {
        let (_context, c, log) = context(Scripted {
            finalize: Box::new(move |()| {
                assert!(!panics, "in finalize");
                Err(ErrorKind::IoError.into())
            }),
            ..Scripted::default()
        });
        c.finalize();
        assert_eq!(log.calls(), ["finalize", "drop"]);
        assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
    }
}

#[test]
fn a_dropped_context_finalizes_once() {
    let (context1, c, log) = context(Scripted::default());
    c.finalize();
    drop(context1);
    assert_eq!(log.calls(), ["finalize", "drop"]);

    let (context2, _, log) = context(Scripted::default());
    drop(context2);
    assert_eq!(log.calls(), ["finalize", "drop"]);
}

#[test]
fn the_transport_comes_back_as_it_is() {
    let (context1, c, log) = context(Scripted::default());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    let scripted = context1.into_inner().expect("not finalized");
    assert_eq!(log.calls(), ["transmit"], "neither finalized nor dropped");
    drop(scripted);
    assert_eq!(log.calls(), ["transmit", "drop"]);

    let (context2, c, _) = context(Scripted::default());
    c.finalize();
    assert!(context2.into_inner().is_none());
}

#[test]
fn sticky_handles_go_both_ways() {
    let (_context, c, _) = context(Scripted {
        make_sticky: Box::new(|(handle, sticky)| Ok(handle + 1 + u32::from(sticky))),
        ..Scripted::default()
    });
    let mut handle = 0x8000_0000;
    assert_eq!(c.make_sticky(&mut handle, 1), rc::SUCCESS);
    assert_eq!(handle, 0x8000_0002);
    assert_eq!(c.make_sticky(&mut handle, 0), rc::SUCCESS);
    assert_eq!(handle, 0x8000_0003);
}

#[test]
fn a_sticky_that_fails_leaves_the_handle_as_it_was() {
    let (_context, c, _) = context(Scripted {
        make_sticky: Box::new(|_| Err(ErrorKind::NotImplemented.into())),
        ..Scripted::default()
    });
    let mut handle = 0x8000_0000;
    assert_eq!(c.make_sticky(&mut handle, 1), rc::NOT_IMPLEMENTED);
    assert_eq!(handle, 0x8000_0000);
}
