// SPDX-License-Identifier: BSD-2-Clause
//! PyTCTI's documented contract, point by point.

mod common;

use std::time::Duration;

use common::commands::get_random;
use common::scripted::{Scripted, answer, put};
use common::vtable::{Vtable, rc};
use rusttcti::{Context, ErrorKind, Magic, PollHandle, Result, Tcti};

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
