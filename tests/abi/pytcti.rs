// SPDX-License-Identifier: BSD-2-Clause
//! PyTCTI's documented contract, point by point.

use std::sync::Arc;
use std::time::Duration;

use rusttcti::{Cancel, Context, Error, ErrorKind, Magic, Native, PollHandle, Result, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};

/// The two required methods, and no more.
struct Minimal;

impl Tcti for Minimal {
    fn transmit(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        put(response, &answer(12))
    }
}

#[test]
fn max_size_defaults_to_4096() {
    let context = Context::new(Minimal);
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(2)), rc::SUCCESS);
    assert_eq!(c.response_size(), (rc::SUCCESS, 4096));
}

#[test]
fn max_size_is_the_size_to_allocate_for_a_response() {
    let context = Context::builder().max_size(1000).build(Minimal);
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(2)), rc::SUCCESS);
    assert_eq!(c.response_size(), (rc::SUCCESS, 1000));
}

#[test]
fn magic_of_0_to_8_bytes_is_read_big_endian() {
    let whole = b"RUSTTCTI";
    for length in 0..=8 {
        let magic = Magic::try_from(&whole[..length]).expect("8 bytes at most");
        assert_eq!(magic.as_bytes(), &whole[..length]);
        let number = whole[..length]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        assert_eq!(magic.number(), number);
        let context = Context::builder().magic(magic).build(Minimal);
        assert_eq!(Vtable(context.as_ptr()).common().v1.magic, number);
        assert_eq!(
            Vtable(context.as_ptr()).transmit(&get_random(2)),
            rc::SUCCESS
        );
    }
}

#[test]
fn magic_over_8_bytes_is_an_error() {
    let error = Magic::try_from(&b"NINEBYTES"[..]).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert!(std::panic::catch_unwind(|| Magic::new(b"NINEBYTES")).is_err());
}

#[test]
fn the_optional_methods_are_optional() {
    let context = Context::new(Minimal);
    let c = Vtable(context.as_ptr());
    assert_eq!(c.poll_handles(0).0, rc::NOT_IMPLEMENTED);
    assert_eq!(c.set_locality(1), rc::NOT_IMPLEMENTED);
    assert_eq!(c.make_sticky(&mut 1, 1), rc::NOT_IMPLEMENTED);
    assert_eq!(c.transmit(&get_random(2)), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::NOT_IMPLEMENTED);
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(12)));
    c.finalize();
}

#[test]
fn a_negative_timeout_waits_indefinitely() {
    let context = Context::new(Scripted {
        receive: Box::new(|response, timeout| {
            assert_eq!(timeout, None);
            put(response, &answer(12))
        }),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(2)), rc::SUCCESS);
    assert_eq!(c.receive(-1).0, rc::SUCCESS);
}

#[test]
fn poll_handles_may_be_none() {
    let context = Context::new(Scripted {
        poll_handles: Box::new(|()| Ok(Vec::new())),
        ..Scripted::default()
    });
    let (code, count, _) = Vtable(context.as_ptr()).poll_handles(3);
    assert_eq!((code, count), (rc::SUCCESS, 0));
}

#[test]
fn poll_handles_may_be_several() {
    let context = Context::new(Scripted {
        poll_handles: Box::new(|()| Ok((10..15).map(PollHandle::readable).collect())),
        ..Scripted::default()
    });
    let (code, count, handles) = Vtable(context.as_ptr()).poll_handles(5);
    assert_eq!((code, count), (rc::SUCCESS, 5));
    assert_eq!(
        handles.iter().map(|handle| handle.fd).collect::<Vec<_>>(),
        [10, 11, 12, 13, 14]
    );
}

#[test]
fn poll_handles_are_cached_between_their_count_and_their_copy() {
    let mut asked = 0;
    let context = Context::new(Scripted {
        // One more each time that it is asked.
        poll_handles: Box::new(move |()| {
            asked += 1;
            Ok((0..asked).map(PollHandle::readable).collect())
        }),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    let copied = |places| {
        let (code, count, handles) = c.poll_handles(places);
        assert_eq!(code, rc::SUCCESS);
        handles[..count].iter().map(|handle| handle.fd).collect()
    };
    for count in [1, 2, 3] {
        assert_eq!(c.poll_handles(0).1, count, "to count is to ask anew");
    }
    let (code, count, _) = c.poll_handles(1);
    assert_eq!((code, count), (rc::INSUFFICIENT_BUFFER, 3));
    let copy: Vec<i32> = copied(3);
    assert_eq!(copy, [0, 1, 2], "those that were counted");
    let copy: Vec<i32> = copied(9);
    assert_eq!(copy, [0, 1, 2, 3], "they are given once");

    // Events in between make them differ.
    assert_eq!(c.poll_handles(0).1, 5);
    assert_eq!(c.transmit(&get_random(2)), rc::SUCCESS);
    let copy: Vec<i32> = copied(9);
    assert_eq!(copy, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn errors_are_retained_across_the_native_boundary() {
    #[derive(Debug, PartialEq)]
    struct Unplugged(u32);
    impl std::fmt::Display for Unplugged {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "line {} is unplugged", self.0)
        }
    }
    impl std::error::Error for Unplugged {}
    fn fail<T>(line: u32) -> Result<T> {
        Err(Error::new(ErrorKind::NoConnection, Unplugged(line)))
    }
    struct Plugged;
    impl Cancel for Plugged {
        fn cancel(&self) -> Result<()> {
            fail(6)
        }
    }

    let mut fails = true;
    let context = Context::new(Scripted {
        transmit: Box::new(move |_| {
            if std::mem::take(&mut fails) {
                fail(1)
            } else {
                Ok(())
            }
        }),
        receive: Box::new(|_, _| fail(2)),
        poll_handles: Box::new(|()| fail(3)),
        set_locality: Box::new(|_| fail(4)),
        make_sticky: Box::new(|_| fail(5)),
        finalize: Box::new(|()| fail(7)),
        canceller: Some(Arc::new(Plugged)),
        ..Scripted::default()
    });
    // SAFETY: a context of ours, used by this test alone, which outlives it.
    let mut native = unsafe { Native::from_raw(context.as_ptr()) }.expect("a context");
    let line = |result: Result<()>| {
        let error = result.expect_err("it fails");
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        let own = error.get_ref().and_then(|own| own.downcast_ref());
        own.map(|Unplugged(line)| *line)
    };
    assert_eq!(line(native.transmit(&get_random(2))), Some(1));
    assert_eq!(line(native.poll_handles().map(drop)), Some(3));
    assert_eq!(line(native.set_locality(1)), Some(4));
    assert_eq!(line(native.make_sticky(1, true).map(drop)), Some(5));
    native.transmit(&get_random(2)).expect("the second time");
    let canceller = native.canceller().expect("it has one");
    assert_eq!(line(canceller.cancel()), Some(6));
    assert_eq!(line(native.receive(&mut [0; 64], None).map(drop)), Some(2));
    assert_eq!(line(native.finalize()), Some(7));
    native.finalize().expect("it is over");
}

#[test]
fn make_sticky_is_told_both_ways() {
    let context = Context::new(Scripted {
        make_sticky: Box::new(|(handle, sticky)| Ok(if sticky { handle | 1 } else { handle & !1 })),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    let mut handle = 0x8100_0000;
    assert_eq!(c.make_sticky(&mut handle, 1), rc::SUCCESS);
    assert_eq!(handle, 0x8100_0001);
    assert_eq!(c.make_sticky(&mut handle, 0), rc::SUCCESS);
    assert_eq!(handle, 0x8100_0000);
}

#[test]
fn finalize_s_error_harms_nobody() {
    let context = Context::new(Scripted {
        finalize: Box::new(|()| Err(ErrorKind::IoError.into())),
        ..Scripted::default()
    });
    Vtable(context.as_ptr()).finalize();
    assert!(context.into_inner().is_none(), "it is over all the same");
}

#[test]
fn a_context_is_a_scope() {
    let scripted = Scripted::default();
    let log = scripted.log.clone();
    {
        let _context = Context::new(scripted);
    }
    assert_eq!(log.calls(), ["finalize", "drop"]);
}
