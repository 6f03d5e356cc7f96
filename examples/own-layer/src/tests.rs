// SPDX-License-Identifier: BSD-2-Clause
//! The layer over a TPM that asks for commands again: an embedded TPM of libtpms
//! (Debian: libtpms0) behind a script. `cargo test` runs the tests. `conformance!` adds
//! a test that runs every check of the kit.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use super::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::wire::{CommandBuilder, CommandCode};
use rusttcti::{Context, TctiExt};

rusttcti_kit::conformance!(module Tss2_Tcti_Info, ",times=3,wait=1:libtpms");

const RETRY: ResponseCode = ResponseCode::RETRY;
const SUCCESS: ResponseCode = ResponseCode(0);
/// Longer than anything takes that does not wait.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Longer than a test runs.
const LONG: Duration = Duration::from_secs(1000);

/// TPM2_GetRandom of 16 bytes; its response has 28.
fn get_random() -> Vec<u8> {
    CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build()
}

/// A TPM that answers with these codes first. Success stands for silence until
/// the command is cancelled.
struct Busy {
    codes: VecDeque<ResponseCode>,
    tpm: Box<dyn Tcti>,
    seen: Arc<Seen>,
    at_tpm: bool,
}

/// What reached the TPM.
#[derive(Default)]
struct Seen {
    sent: Mutex<u64>,
    cancelled: Mutex<bool>,
}

impl Seen {
    fn sent(&self) -> u64 {
        *self.sent.lock().expect("a number")
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.lock().expect("a flag")
    }
}

impl Cancel for Seen {
    fn cancel(&self) -> Result<()> {
        *self.cancelled.lock().expect("a flag") = true;
        Ok(())
    }
}

impl Tcti for Busy {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        *self.seen.sent.lock().expect("a number") += 1;
        self.at_tpm = self.codes.is_empty();
        match self.at_tpm {
            true => self.tpm.transmit(command),
            false => Ok(()),
        }
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        if self.at_tpm {
            return self.tpm.receive(response, timeout);
        }
        let code = match self.codes[0] {
            SUCCESS if !self.seen.is_cancelled() => return Err(ErrorKind::TryAgain.into()),
            // The TPM need not say that it was cancelled.
            SUCCESS => RETRY,
            code => code,
        };
        self.codes.pop_front();
        let answer = ResponseBuilder::new(code).build();
        response[..answer.len()].copy_from_slice(&answer);
        Ok(answer.len())
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(self.seen.clone())
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.tpm.poll_handles()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.tpm.set_locality(locality)
    }
}

/// The layer over such a TPM, called as C calls it, and what reaches the TPM.
fn layer(codes: &[ResponseCode], times: u64, wait: Duration) -> (Context<Redo>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let busy = Busy {
        codes: codes.iter().copied().collect(),
        tpm: rusttcti::open("libtpms").expect("a TPM"),
        seen: seen.clone(),
        at_tpm: false,
    };
    let layer = Redo::over(Box::new(busy), times, wait).expect("a timer");
    (Context::new(layer), seen)
}

fn code(response: &[u8]) -> ResponseCode {
    Header::parse(response).expect("a header").code.into()
}

fn try_again(tpm: &mut impl Tcti, timeout: Duration) {
    let error = tpm
        .receive(&mut [0; 4096], Some(timeout))
        .expect_err("not yet");
    assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
}

/// Returns whether one of the poll handles is readable within this time.
fn polls(tpm: &mut impl Tcti, time: Duration) -> bool {
    let handles = tpm.poll_handles().expect("poll handles");
    let mut fds: Vec<PollFd> = handles
        .iter()
        // SAFETY: the layer and the TPM keep their descriptors open.
        .map(|handle| unsafe { std::os::fd::BorrowedFd::borrow_raw(handle.fd) })
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let time = Timespec::try_from(time).expect("a time");
    poll(&mut fds, Some(&time)).expect("polled") > 0
}

#[test]
fn a_tpm_that_is_busy_three_times_answers_in_the_end() {
    let (mut tpm, seen) = layer(&AGAIN, 5, Duration::from_millis(1));
    let response = tpm.execute(&get_random(), None).expect("a response");
    assert_eq!((code(&response), response.len()), (SUCCESS, 28));
    assert_eq!(seen.sent(), 4);
    // The next command begins anew.
    let response = tpm.execute(&get_random(), None).expect("a response");
    assert_eq!((code(&response), seen.sent()), (SUCCESS, 5));
}

#[test]
fn after_so_many_times_the_program_gets_what_the_tpm_says() {
    let (mut tpm, seen) = layer(&[RETRY; 9], 2, Duration::from_millis(1));
    let response = tpm.execute(&get_random(), None).expect("a response");
    assert_eq!((code(&response), seen.sent()), (RETRY, 3));
}

#[test]
fn other_errors_of_the_tpm_pass_at_once() {
    let (mut tpm, seen) = layer(&[ResponseCode::FAILURE], 5, LONG);
    let response = tpm.execute(&get_random(), None).expect("a response");
    assert_eq!((code(&response), seen.sent()), (ResponseCode::FAILURE, 1));
}

#[test]
fn a_pause_keeps_to_the_timeout_and_an_event_loop_learns_of_its_end() {
    let began = Instant::now();
    let (mut tpm, seen) = layer(&[RETRY], 5, Duration::from_millis(50));
    tpm.transmit(&get_random()).expect("sent");
    try_again(&mut tpm, Duration::ZERO);
    assert!(!polls(&mut tpm, Duration::ZERO) || began.elapsed() > Duration::from_millis(50));
    try_again(&mut tpm, Duration::from_millis(1));
    assert_eq!(seen.sent(), 1);
    assert!(polls(&mut tpm, AT_ONCE), "the pause ends");
    assert!(began.elapsed() >= Duration::from_millis(50));
    let size = tpm.receive(&mut [0; 4096], None).expect("a response");
    assert_eq!((size, seen.sent()), (28, 2));
    assert!(!polls(&mut tpm, Duration::ZERO), "and is over");
}

#[test]
fn a_cancel_in_the_pause_ends_it_and_nothing_more_is_sent() {
    let (mut tpm, seen) = layer(&[RETRY], 5, LONG);
    tpm.transmit(&get_random()).expect("sent");
    try_again(&mut tpm, Duration::ZERO);
    let canceller = tpm.canceller().expect("one");
    let waiting = thread::spawn(move || {
        let mut response = [0; 4096];
        let size = tpm.receive(&mut response, None).expect("a response");
        (code(&response[..size]), tpm)
    });
    canceller.cancel().expect("the pause ends");
    let (answered, mut tpm) = waiting.join().expect("no panic");
    assert_eq!((answered, seen.sent()), (ResponseCode::CANCELED, 1));
    assert!(!seen.is_cancelled(), "the TPM had no command");
    // It holds for one command only.
    tpm.transmit(&get_random()).expect("sent");
    assert_eq!(seen.sent(), 2);
}

#[test]
fn a_cancel_reaches_the_tpm_while_it_has_the_command_also_when_it_was_sent_anew() {
    for codes in [&[SUCCESS][..], &[RETRY, SUCCESS]] {
        let (mut tpm, seen) = layer(codes, 5, Duration::from_millis(1));
        tpm.transmit(&get_random()).expect("sent");
        let canceller = tpm.canceller().expect("one");
        let began = Instant::now();
        while seen.sent() < codes.len() as u64 {
            try_again(&mut tpm, Duration::from_millis(5));
            assert!(began.elapsed() < AT_ONCE);
        }
        canceller.cancel().expect("told");
        assert!(seen.is_cancelled());
        // A cancelled command is not sent again.
        let mut response = [0; 4096];
        let size = tpm.receive(&mut response, None).expect("a response");
        assert_eq!(code(&response[..size]), RETRY);
        assert_eq!(seen.sent(), codes.len() as u64);
    }
}

#[test]
fn what_the_layer_does_not_change_is_asked_of_what_is_below() {
    let (mut tpm, _) = layer(&[], 5, LONG);
    tpm.set_locality(3).expect("libtpms has localities");
    let mut null = Redo::init(Some("null")).expect("it opens");
    let error = null.set_locality(3).expect_err("null has none");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
    let error = null.transmit(&get_random()).expect_err("nor a TPM");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
}

#[test]
fn options_stand_before_the_chain_and_a_mistake_in_them_is_told() {
    let layer = Redo::init(Some(",times=7,wait=3:null")).expect("it opens");
    assert_eq!((layer.times, layer.wait), (7, Duration::from_millis(3)));
    let layer = Redo::init(Some("null")).expect("it opens");
    assert_eq!((layer.times, layer.wait), (5, Duration::from_millis(20)));
    for (conf, words) in [
        (",tims=7:null", "no option \"tims\""),
        (",times=x:null", "times=\"x\" is not allowed"),
        (",wait=0:null", "a number from 1 to 10000"),
        (",times=7:nosuchtpm", "\"nosuchtpm\""),
    ] {
        let error = Redo::init(Some(conf)).err().expect("refused").report();
        assert!(error.contains(words), "{error}");
    }
}
