// SPDX-License-Identifier: BSD-2-Clause
//! The layer retry: the responses after which it sends a command again, and the pause.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::layer::retry::Retry;
use rusttcti::wire::CommandCode;
use rusttcti::{Cancel, Context, Error, ErrorKind, Result, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::scripted::{Log, Scripted, answer, put};
use rusttcti_kit::tpm::{authorized, call, create_primary_ecc, ok};

const RETRY: u32 = 0x922;
const YIELDED: u32 = 0x908;
const TESTING: u32 = 0x90a;
const CANCELED: u32 = 0x909;

/// Returns a response that has this code and nothing else.
fn code(code: u32) -> Vec<u8> {
    [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat()
}

/// A TPM that answers with these codes in turn, and then with success.
fn busy(codes: &[u32]) -> (Scripted, Log) {
    let mut codes: VecDeque<u32> = codes.iter().copied().collect();
    let scripted = Scripted {
        receive: Box::new(move |response, _| match codes.pop_front() {
            Some(next) => put(response, &code(next)),
            None => put(response, &answer(28)),
        }),
        poll_handles: Box::new(|()| Ok(Vec::new())),
        ..Scripted::default()
    };
    let log = scripted.log.clone();
    (scripted, log)
}

fn round(tcti: &mut dyn Tcti) -> u32 {
    response_code(&call(tcti, &get_random(16)).expect("a response"))
}

#[test]
fn each_of_the_three_codes_is_asked_again_until_another_response_comes() {
    let (tpm, log) = busy(&[RETRY, YIELDED, TESTING]);
    let mut tpm = Retry::new(tpm, 5, Duration::from_millis(1));
    assert_eq!(round(&mut tpm), 0);
    assert_eq!(log.count("transmit"), 4);
}

#[test]
fn any_other_failure_is_the_programs_at_once() {
    for other in [0x101, 0x921, 0x98e, 0x100] {
        let (tpm, log) = busy(&[other]);
        let mut tpm = Retry::new(tpm, 5, Duration::from_secs(60));
        assert_eq!(round(&mut tpm), other);
        assert_eq!(log.count("transmit"), 1);
    }
}

#[test]
fn after_so_many_times_the_program_gets_the_last_response_and_the_next_command_all_tries() {
    let (tpm, log) = busy(&[RETRY, RETRY, TESTING, RETRY, RETRY]);
    let mut tpm = Retry::new(tpm, 2, Duration::from_millis(1));
    assert_eq!(round(&mut tpm), TESTING);
    assert_eq!(log.count("transmit"), 3);
    assert_eq!(round(&mut tpm), 0);
    assert_eq!(log.count("transmit"), 6);
}

#[test]
fn each_pause_is_twice_as_long_as_the_one_before() {
    let (tpm, _) = busy(&[RETRY; 3]);
    let mut tpm = Retry::new(tpm, 3, Duration::from_millis(10));
    let begun = Instant::now();
    assert_eq!(round(&mut tpm), 0);
    assert!(begun.elapsed() >= Duration::from_millis(10 + 20 + 40));
}

#[test]
fn a_timeout_in_the_pause_loses_nothing_and_the_poll_handle_tells_its_end() {
    let (tpm, log) = busy(&[RETRY]);
    let mut tpm = Retry::new(tpm, 5, Duration::from_millis(60));
    let handle = tpm.poll_handles().expect("the pause's")[0];
    // SAFETY: the layer keeps it open for as long as it lives.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(handle.fd) };
    let readable = |wait: Duration| {
        let wait = Timespec::try_from(wait).expect("a time");
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&wait)).expect("polled") == 1
    };
    let mut response = [0; 4096];
    tpm.transmit(&get_random(16)).expect("sent");
    for _ in 0..2 {
        let error = tpm.receive(&mut response, Some(Duration::ZERO));
        assert_eq!(error.expect_err("a pause").kind(), ErrorKind::TryAgain);
    }
    assert!(!readable(Duration::ZERO), "the pause has just begun");
    assert!(readable(PATIENCE));
    assert_eq!(log.count("transmit"), 1, "polling sends nothing");
    let length = tpm.receive(&mut response, Some(Duration::ZERO));
    assert_eq!(length.expect("the response"), 28);
    assert!(!readable(Duration::ZERO), "all is done");
}

#[test]
fn a_cancel_ends_the_pause_with_tpm_rc_canceled() {
    let (tpm, log) = busy(&[RETRY]);
    let mut tpm = Retry::new(tpm, 5, Duration::from_secs(3600));
    let mut response = [0; 4096];
    tpm.transmit(&get_random(16)).expect("sent");
    let error = tpm.receive(&mut response, Some(Duration::from_millis(5)));
    assert_eq!(error.expect_err("a pause").kind(), ErrorKind::TryAgain);
    let canceller = tpm.canceller().expect("a canceller");
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        canceller.cancel()
    });
    let length = tpm.receive(&mut response, None).expect("an answer");
    other.join().expect("a thread").expect("cancelled");
    assert_eq!(response_code(&response[..length]), CANCELED);
    assert_eq!(log.count("transmit"), 1);
    assert_eq!(round(&mut tpm), 0, "the next command is not cancelled");
}

struct Noted(Arc<Mutex<u32>>);

impl Cancel for Noted {
    fn cancel(&self) -> Result<()> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
}

#[test]
fn a_cancel_of_a_command_under_way_reaches_the_transport_and_ends_the_tries() {
    let cancelled = Arc::new(Mutex::new(0));
    let (mut tpm, log) = busy(&[RETRY]);
    tpm.canceller = Some(Arc::new(Noted(cancelled.clone())));
    let mut tpm = Context::new(Retry::new(tpm, 5, Duration::from_secs(3600)));
    tpm.transmit(&get_random(16)).expect("sent");
    tpm.canceller().expect("one").cancel().expect("cancelled");
    let mut response = [0; 4096];
    let length = tpm.receive(&mut response, None).expect("an answer");
    assert_eq!(response_code(&response[..length]), RETRY);
    assert_eq!((*cancelled.lock().unwrap(), log.count("transmit")), (1, 1));
}

#[test]
fn where_the_transport_cannot_cancel_that_is_said_and_the_command_is_not_tried_again() {
    let (tpm, log) = busy(&[RETRY]);
    let mut tpm = Retry::new(tpm, 5, Duration::from_millis(1));
    tpm.transmit(&get_random(16)).expect("sent");
    let error = tpm
        .canceller()
        .expect("one")
        .cancel()
        .expect_err("it can't");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
    let mut response = [0; 4096];
    let length = tpm.receive(&mut response, None).expect("a response");
    assert_eq!(response_code(&response[..length]), RETRY);
    assert_eq!(log.count("transmit"), 1);
}

#[test]
fn a_command_that_cannot_be_sent_again_has_failed() {
    let mut sent = 0;
    let (mut tpm, _) = busy(&[RETRY]);
    // A kind after which a response would be awaited for ever.
    tpm.transmit = Box::new(move |_| {
        sent += 1;
        match sent {
            2 => Err(Error::new(ErrorKind::BadValue, "the line is cut")),
            _ => Ok(()),
        }
    });
    let mut tpm = Context::new(Retry::new(tpm, 5, Duration::from_millis(1)));
    tpm.transmit(&get_random(16)).expect("sent");
    let error = tpm.receive(&mut [0; 4096], None).expect_err("it failed");
    assert_eq!(error.kind(), ErrorKind::IoError);
    assert!(error.report().contains("the line is cut"), "{error:?}");
    assert_eq!(round(&mut tpm), 0);
}

/// TPM2_Create below a key with dictionary attack protection, whose first use a
/// TPM answers with TPM_RC_RETRY.
fn create() -> Vec<u8> {
    let primary = create_primary_ecc();
    authorized(CommandCode::CREATE, &[0x8000_0000], 1, &primary[27..])
}

#[test]
fn the_first_use_of_a_protected_key_works_at_once() {
    let mut bare = rusttcti::open("libtpms").expect("a TPM");
    ok(&mut *bare, &create_primary_ecc());
    assert_eq!(
        response_code(&call(&mut *bare, &create()).expect("one")),
        RETRY
    );

    let mut retried = rusttcti::open("retry:libtpms").expect("a TPM");
    ok(&mut *retried, &create_primary_ecc());
    ok(&mut *retried, &create());
}

#[test]
fn its_options_are_numbers_in_their_ranges() {
    for (chain, told) in [
        ("retry,times=0:null", "a number from 1 to 1000"),
        ("retry,wait=x:null", "a number from 1 to 60000"),
        ("retry,times:null", "not of the form key=value"),
    ] {
        let error = rusttcti::open(chain).err().expect(chain);
        assert!(error.to_string().contains(told), "{error}");
    }
}
