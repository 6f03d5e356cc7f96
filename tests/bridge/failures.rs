// SPDX-License-Identifier: BSD-2-Clause
//! Panics end at the bridge, and errors are kept across it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use rusttcti::{Context, Error, ErrorKind, Native, Result, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer};
use rusttcti_kit::vtable::{Vtable, rc};

fn context(scripted: Scripted) -> (Context<Scripted>, Vtable) {
    let context = Context::new(scripted);
    let vtable = Vtable(context.as_ptr());
    (context, vtable)
}

/// The context once more, as a Rust caller of its C functions.
fn native(context: &Context<Scripted>) -> Native {
    // SAFETY: the context outlives it in each test here.
    unsafe { Native::from_raw(context.as_ptr()) }.expect("a context")
}

#[derive(Debug, PartialEq)]
struct Unplugged(u32);

impl fmt::Display for Unplugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} is unplugged", self.0)
    }
}

impl std::error::Error for Unplugged {}

#[test]
fn a_panic_in_each_method_is_a_general_failure_with_its_message() {
    let (context, c) = context(Scripted {
        transmit: Box::new(|_| panic!("in transmit")),
        poll_handles: Box::new(|()| panic!("in {}", "poll_handles")),
        set_locality: Box::new(|_| panic!("in set_locality")),
        make_sticky: Box::new(|_| panic!("in make_sticky")),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::GENERAL_FAILURE);
    assert_eq!(c.receive(0).0, rc::BAD_SEQUENCE, "still in transmit");
    assert_eq!(c.poll_handles(0).0, rc::GENERAL_FAILURE);
    assert_eq!(c.set_locality(0), rc::GENERAL_FAILURE);
    assert_eq!(c.make_sticky(&mut 0, 0), rc::GENERAL_FAILURE);

    let mut rust = native(&context);
    let error = rust.transmit(&get_random(16)).expect_err("it panics");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::GeneralFailure, "panic: in transmit".into())
    );
    let error = rust.poll_handles().expect_err("it panics");
    assert_eq!(error.to_string(), "panic: in poll_handles");
    let error = rust.set_locality(1).expect_err("it panics");
    assert_eq!(error.to_string(), "panic: in set_locality");
    let error = rust.make_sticky(1, true).expect_err("it panics");
    assert_eq!(error.to_string(), "panic: in make_sticky");
}

#[test]
fn a_panic_in_receive_ends_the_command_and_the_context_goes_on() {
    let mut panicked = false;
    let (_context, c) = context(Scripted {
        receive: Box::new(move |response, _| {
            assert!(std::mem::replace(&mut panicked, true), "the first time");
            rusttcti_kit::scripted::put(response, &answer(10))
        }),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(-1).0, rc::GENERAL_FAILURE);
    assert_eq!(c.receive(-1).0, rc::BAD_SEQUENCE);
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(10)));
}

#[test]
fn a_panic_in_cancel_or_of_no_text_or_on_drop_is_caught_too() {
    struct Panics;
    impl rusttcti::Cancel for Panics {
        fn cancel(&self) -> Result<()> {
            std::panic::panic_any(7_u8)
        }
    }
    struct PanicsOnDrop;
    impl Tcti for PanicsOnDrop {
        fn transmit(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn receive(&mut self, _: &mut [u8], _: Option<Duration>) -> Result<usize> {
            Err(ErrorKind::TryAgain.into())
        }
    }
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("on drop");
        }
    }

    let (context, c) = context(Scripted {
        canceller: Some(std::sync::Arc::new(Panics)),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.cancel(), rc::GENERAL_FAILURE);
    let error = native(&context)
        .canceller()
        .expect("it has one")
        .cancel()
        .expect_err("panics");
    assert_eq!(error.to_string(), "panic, with a payload that is not text");
    assert_eq!(c.receive(-1).0, rc::SUCCESS);

    let context = Context::new(PanicsOnDrop);
    let c = Vtable(context.as_ptr());
    c.finalize();
    assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE);
}

#[test]
fn a_canceller_that_panics_when_it_is_dropped_keeps_no_transport_from_its_end() {
    struct PanicsOnDrop;
    impl rusttcti::Cancel for PanicsOnDrop {
        fn cancel(&self) -> Result<()> {
            Ok(())
        }
    }
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("on drop");
        }
    }
    /// A new canceller for each command, which the bridge alone has.
    struct Fresh(Scripted);
    impl Tcti for Fresh {
        fn transmit(&mut self, command: &[u8]) -> Result<()> {
            self.0.transmit(command)
        }
        fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
            self.0.receive(response, timeout)
        }
        fn canceller(&mut self) -> Option<std::sync::Arc<dyn rusttcti::Cancel>> {
            Some(std::sync::Arc::new(PanicsOnDrop))
        }
        fn finalize(&mut self) -> Result<()> {
            self.0.finalize()
        }
    }

    for by_c in [true, false] {
        let scripted = Scripted::default();
        let log = scripted.log.clone();
        let context = Context::new(Fresh(scripted));
        let c = Vtable(context.as_ptr());
        assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        if by_c {
            c.finalize();
        }
        drop(context);
        assert_eq!(log.calls(), ["transmit", "finalize", "drop"]);
    }

    let context = Context::new(Fresh(Scripted::default()));
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert!(context.into_inner().is_some());
}

#[test]
fn an_error_whose_text_panics_is_caught_too() {
    #[derive(Debug)]
    struct NoWords;
    impl fmt::Display for NoWords {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no words")
        }
    }
    impl std::error::Error for NoWords {}
    let (_context, c) = context(Scripted {
        transmit: Box::new(|_| Err(Error::new(ErrorKind::IoError, NoWords))),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::IO_ERROR);
}

#[test]
fn a_rust_caller_gets_the_original_error_through_the_c_functions() {
    let (context, _) = context(Scripted {
        transmit: Box::new(|_| {
            Err(Error::new(ErrorKind::NoConnection, Unplugged(4)).context("cannot send"))
        }),
        ..Scripted::default()
    });
    let error = native(&context)
        .transmit(&get_random(16))
        .expect_err("unplugged");
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert_eq!(error.report(), "cannot send: port 4 is unplugged");
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut found = None;
    while let Some(error) = cause {
        found = found.or(error.downcast_ref::<Unplugged>());
        cause = error.source();
    }
    assert_eq!(found, Some(&Unplugged(4)));
}

#[test]
fn the_original_error_crosses_any_number_of_c_contexts() {
    let innermost = Context::new(Scripted {
        receive: Box::new(|_, _| Err(Error::new(ErrorKind::NotPermitted, Unplugged(9)))),
        ..Scripted::default()
    });
    let middle = Context::new(native(&innermost));
    // SAFETY: `middle` outlives it.
    let mut outer = unsafe { Native::from_raw(middle.as_ptr()) }.expect("a context");
    outer.transmit(&get_random(16)).expect("taken");
    let error = outer
        .receive(&mut [0; 64], None)
        .expect_err("not permitted");
    assert_eq!(error.rc(), rc::NOT_PERMITTED);
    assert_eq!(
        error.get_ref().and_then(|e| e.downcast_ref()),
        Some(&Unplugged(9))
    );
}

#[test]
fn what_the_bridge_itself_finds_wrong_has_words_too() {
    let (context, _) = context(Scripted::default());
    let mut rust = native(&context);
    let error = rust
        .receive(&mut [0; 64], None)
        .expect_err("nothing was sent");
    assert_eq!(error.to_string(), "no command was sent");
    let error = rust.transmit(&[0; 4]).expect_err("too short");
    assert_eq!(
        error.to_string(),
        "the command has 4 bytes, which is less than a header"
    );
    let error = rust.set_locality(7).expect_err("no such locality");
    assert_eq!(
        error.to_string(),
        "no TPM has a locality 7 (they are 0 to 4 and 32 to 255)"
    );
}

#[test]
fn native_speaks_as_the_c_functions_do() {
    let (context, _) = context(Scripted {
        make_sticky: Box::new(|(handle, sticky)| Ok(handle ^ u32::from(sticky))),
        poll_handles: Box::new(|()| Ok(vec![rusttcti::PollHandle::readable(3)])),
        ..Scripted::default()
    });
    let mut rust = native(&context);
    assert_eq!(&rust.magic(), b"RUSTTCTI");
    assert_eq!(rust.magic_number(), u64::from_be_bytes(*b"RUSTTCTI"));
    assert_eq!(rust.version(), 2);
    rust.transmit(&get_random(16)).expect("taken");
    assert_eq!(
        rust.poll_handles().expect("one"),
        [rusttcti::PollHandle::readable(3)]
    );
    let mut small = [0; 12];
    let error = rust.receive(&mut small, None).expect_err("too small");
    assert_eq!(error.kind(), ErrorKind::InsufficientBuffer);
    let mut response = [0; 64];
    let length = rust
        .receive(&mut response, Some(Duration::from_micros(1)))
        .expect("kept");
    assert_eq!(response[..length], answer(28));
    assert_eq!(rust.make_sticky(6, true).expect("sticky"), 7);
    rust.finalize().expect("once");
    rust.finalize().expect("twice is no harm");
    assert_eq!(
        rust.transmit(&get_random(16)).expect_err("over").kind(),
        ErrorKind::BadSequence
    );
    assert_eq!(rust.version(), 0);
    assert_eq!(
        Vtable(context.as_ptr()).transmit(&get_random(16)),
        rc::BAD_SEQUENCE
    );
}

#[test]
fn functions_that_a_c_context_lacks_are_not_implemented_or_an_abi_mismatch() {
    use tss_esapi_sys::{TSS2_TCTI_CONTEXT_COMMON_V1, TSS2_TCTI_CONTEXT_COMMON_V2};
    let mut v1 = TSS2_TCTI_CONTEXT_COMMON_V1 {
        magic: 5,
        version: 1,
        ..Default::default()
    };
    // SAFETY: a V1 context without functions, which outlives the value.
    let mut native = unsafe { Native::from_raw((&raw mut v1).cast()) }.expect("a context");
    let kind = |result: Result<()>| result.expect_err("it has none").kind();
    assert_eq!(
        kind(native.transmit(&get_random(1))),
        ErrorKind::NotImplemented
    );
    assert_eq!(
        kind(native.receive(&mut [0; 10], None).map(|_| ())),
        ErrorKind::NotImplemented
    );
    assert_eq!(
        kind(native.poll_handles().map(|_| ())),
        ErrorKind::NotImplemented
    );
    assert_eq!(kind(native.set_locality(0)), ErrorKind::NotImplemented);
    assert_eq!(
        kind(native.make_sticky(0, true).map(|_| ())),
        ErrorKind::AbiMismatch
    );
    assert!(native.canceller().is_none());
    native.finalize().expect("nothing to call");

    let mut v2 = TSS2_TCTI_CONTEXT_COMMON_V2::default();
    v2.v1.version = 2;
    // SAFETY: a V2 context without functions, which outlives the value.
    let mut native = unsafe { Native::from_raw((&raw mut v2).cast()) }.expect("a context");
    assert_eq!(
        kind(native.make_sticky(0, true).map(|_| ())),
        ErrorKind::NotImplemented
    );

    v2.v1.version = 0;
    // SAFETY: as above.
    let error = unsafe { Native::from_raw((&raw mut v2).cast()) }.expect_err("no version");
    assert_eq!(error.kind(), ErrorKind::AbiMismatch);
    // SAFETY: NULL is looked at first.
    let error = unsafe { Native::from_raw(std::ptr::null_mut()) }.expect_err("NULL");
    assert_eq!(error.kind(), ErrorKind::BadReference);
}

#[test]
fn a_c_context_that_claims_more_than_the_buffer_is_found_out() {
    use tss_esapi_sys::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, size_t};
    unsafe extern "C" fn receive(
        _: *mut TSS2_TCTI_CONTEXT,
        size: *mut size_t,
        _: *mut u8,
        _: i32,
    ) -> u32 {
        // SAFETY: the caller's size.
        unsafe { *size += 1 };
        0
    }
    let mut v1 = TSS2_TCTI_CONTEXT_COMMON_V1 {
        version: 1,
        receive: Some(receive),
        ..Default::default()
    };
    // SAFETY: a V1 context that outlives the value.
    let mut native = unsafe { Native::from_raw((&raw mut v1).cast()) }.expect("a context");
    let error = native.receive(&mut [0; 64], None).expect_err("a lie");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    assert!(error.report().contains("65 bytes"), "{}", error.report());
}

#[test]
fn a_canceller_that_outlives_its_context_does_nothing() {
    let (context, c) = context(Scripted::default());
    let mut rust = native(&context);
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    let canceller = rust.canceller().expect("it has a cancel function");
    rust.finalize().expect("finalized");
    drop(rust);
    drop(context);
    assert_eq!(
        canceller.cancel().expect_err("over").kind(),
        ErrorKind::BadSequence
    );
}

#[test]
fn an_interrupted_receive_goes_on_and_the_timeout_is_the_caller_s() {
    let mut signals = 3;
    let (_context, c) = context(Scripted {
        receive: Box::new(move |response, timeout| {
            assert!(timeout.is_none_or(|left| left <= Duration::from_secs(60)));
            if signals > 0 {
                signals -= 1;
                return Err(std::io::Error::from_raw_os_error(libc::EINTR).into());
            }
            rusttcti_kit::scripted::put(response, &answer(28))
        }),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    // Only a look is one look.
    assert_eq!(c.receive(0).0, rc::TRY_AGAIN);
    assert_eq!(c.receive(60_000), (rc::SUCCESS, answer(28)));
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));
}

#[test]
fn a_signal_is_known_behind_what_a_layer_says_of_it() {
    let mut signals = 0;
    let (_context, c) = context(Scripted {
        receive: Box::new(move |response, _| {
            let error = Error::from(std::io::Error::from_raw_os_error(libc::EINTR));
            signals += 1;
            match signals {
                1 => Err(error.context("below a layer")),
                2 => Err(error.context("below a layer").context("below two")),
                3 => Err(Error::with_source(ErrorKind::TryAgain, "its words", error)),
                _ => rusttcti_kit::scripted::put(response, &answer(28)),
            }
        }),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)));

    // Another failure is one, a signal among its causes or not.
    let (_context, c) = context(Scripted {
        receive: Box::new(|_, _| {
            let cause = std::io::Error::from_raw_os_error(libc::EINTR);
            Err(Error::with_source(ErrorKind::NoConnection, "gone", cause))
        }),
        ..Scripted::default()
    });
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    assert_eq!(c.receive(-1).0, rc::NO_CONNECTION);
}

#[test]
fn a_peer_that_the_system_gave_up_is_gone_and_a_reader_s_timeout_is_not() {
    let kind = |error: std::io::Error| Error::from(error).kind();
    for errno in [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH] {
        let error = std::io::Error::from_raw_os_error(errno);
        assert_eq!(kind(error), ErrorKind::NoConnection, "errno {errno}");
    }
    let own = std::io::Error::from(std::io::ErrorKind::TimedOut);
    assert_eq!(kind(own), ErrorKind::TryAgain);
}
