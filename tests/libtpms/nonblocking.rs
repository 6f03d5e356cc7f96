// SPDX-License-Identifier: BSD-2-Clause
//! The embedded TPM's long commands: transmit returns at once, and the program can
//! wait, poll and cancel.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::{CommandCode, ResponseCode};
use rusttcti::{Context, ErrorKind, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::poll::polls;
use rusttcti_kit::tpm::*;
use rusttcti_kit::vtable::{Vtable, rc};

const CANCELED: u32 = 0x909;
const MINUTE: Option<Duration> = Some(PATIENCE);

fn new() -> Libtpms {
    Libtpms::builder().open().expect("a TPM")
}

/// TPM2_SelfTest of everything.
fn self_test() -> Vec<u8> {
    command(CommandCode::SELF_TEST, &[1])
}

fn receive(tpm: &mut Libtpms) -> Vec<u8> {
    let mut response = vec![0; 4096];
    let size = tpm.receive(&mut response, MINUTE).expect("a response");
    response.truncate(size);
    response
}

/// Sends a command that takes a while, and says how long transmit took.
fn transmit(tpm: &mut Libtpms, command: &[u8]) -> Duration {
    let start = Instant::now();
    tpm.transmit(command).expect("sent");
    start.elapsed()
}

#[test]
fn transmit_of_a_long_command_returns_at_once_and_the_response_follows() {
    let mut tpm = new();
    for command in [self_test(), create_primary_ecc(), create_primary_rsa(2048)] {
        // A machine that is busy may need longer, but not every time.
        let fastest = (0..10)
            .map(|_| {
                let took = transmit(&mut tpm, &command);
                assert_eq!(response_code(&receive(&mut tpm)), 0);
                flush(&mut tpm);
                took
            })
            .min();
        assert!(fastest < Some(Duration::from_millis(5)), "{fastest:?}");
    }
}

/// Flushes the object that was loaded last, if any.
fn flush(tpm: &mut Libtpms) {
    let _ = call(tpm, &command(CommandCode::FLUSH_CONTEXT, &[0x80, 0, 0, 0])).expect("a response");
}

#[test]
fn a_timeout_that_runs_out_loses_nothing() {
    let mut tpm = new();
    let mut response = [0; 4096];
    transmit(&mut tpm, &create_primary_rsa(3072));
    let error = tpm
        .receive(&mut response, Some(Duration::ZERO))
        .expect_err("too early");
    assert_eq!(error.kind(), ErrorKind::TryAgain);
    let start = Instant::now();
    match tpm.receive(&mut response, Some(Duration::from_millis(20))) {
        Ok(_) => {} // a key found in no time
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TryAgain);
            assert!(start.elapsed() >= Duration::from_millis(20));
            assert_eq!(response_code(&receive(&mut tpm)), 0);
        }
    }
}

#[test]
fn the_poll_handle_is_readable_exactly_while_a_response_is_there() {
    let mut tpm = new();
    assert!(!polls(&mut tpm, Duration::ZERO), "nothing was sent");
    for command in [
        get_random(8),
        create_primary_ecc(),
        get_random(8),
        self_test(),
    ] {
        transmit(&mut tpm, &command);
        assert!(polls(&mut tpm, PATIENCE));
        let mut response = [0; 4096];
        let size = tpm
            .receive(&mut response, Some(Duration::ZERO))
            .expect("it is there");
        assert_eq!(response_code(&response[..size]), 0);
        assert!(!polls(&mut tpm, Duration::ZERO), "it was taken");
    }
}

#[test]
fn a_poll_handle_that_is_asked_for_late_tells_of_the_response_too() {
    let mut tpm = new();
    transmit(&mut tpm, &get_random(8));
    assert!(polls(&mut tpm, Duration::ZERO));
    receive(&mut tpm);
    let mut tpm = new();
    transmit(&mut tpm, &create_primary_rsa(2048));
    assert!(polls(&mut tpm, PATIENCE));
    receive(&mut tpm);
}

#[test]
fn another_thread_cancels_a_key_search() {
    let mut tpm = new();
    let mut canceled = 0;
    for _ in 0..6 {
        transmit(&mut tpm, &create_primary_rsa(3072));
        let canceller = tpm.canceller().expect("a long command can be cancelled");
        let other = thread::spawn(move || canceller.cancel().expect("cancelled"));
        match response_code(&receive(&mut tpm)) {
            CANCELED => canceled += 1,
            0 => flush(&mut tpm), // found before it heard
            other => panic!("response code 0x{other:x}"),
        }
        other.join().expect("no panic");
        assert_eq!(ok(&mut tpm, &get_random(8)).len(), 20);
    }
    assert!(canceled >= 5, "{canceled} of 6");
}

#[test]
fn a_late_cancel_harms_nothing_and_never_the_next_command() {
    let mut tpm = new();
    transmit(&mut tpm, &create_primary_ecc());
    let late = tpm.canceller().expect("a long command can be cancelled");
    assert_eq!(response_code(&receive(&mut tpm)), 0);
    flush(&mut tpm);
    late.cancel().expect("too late is no failure");
    transmit(&mut tpm, &create_primary_rsa(2048));
    assert_eq!(response_code(&receive(&mut tpm)), 0);
    tpm.finalize().expect("closed");
    late.cancel().expect("much too late is none either");
}

#[test]
fn a_second_command_waits_for_the_first_ones_response_to_be_received() {
    let mut tpm = new();
    for command in [get_random(8), create_primary_ecc()] {
        transmit(&mut tpm, &command);
        let error = tpm.transmit(&get_random(8)).expect_err("one at a time");
        assert_eq!(error.kind(), ErrorKind::BadSequence);
        assert_eq!(response_code(&receive(&mut tpm)), 0);
    }
}

#[test]
fn a_command_longer_than_any_is_the_tpms_to_refuse() {
    let mut tpm = new();
    let response =
        call(&mut tpm, &command(CommandCode::GET_RANDOM, &[0; 9000])).expect("a response");
    assert_eq!(response_code(&response), ResponseCode::COMMAND_SIZE.0);
    ok(&mut tpm, &get_random(8));
}

#[test]
fn short_commands_have_no_canceller() {
    let mut tpm = new();
    transmit(&mut tpm, &get_random(8));
    assert!(tpm.canceller().is_none());
}

#[test]
fn a_cancel_of_a_short_command_comes_too_late_and_is_no_failure() {
    let context = Context::new(new());
    let tcti = Vtable(context.as_ptr());
    for _ in 0..2 {
        assert_eq!(tcti.transmit(&get_random(8)), rc::SUCCESS);
        assert_eq!(tcti.cancel(), rc::SUCCESS);
        let (code, response) = tcti.receive(-1);
        assert_eq!((code, response_code(&response)), (rc::SUCCESS, 0));
        assert_eq!(tcti.cancel(), rc::BAD_SEQUENCE, "there is none");
    }
}

#[test]
fn a_close_cancels_what_runs_and_does_not_wait_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut tpm = Libtpms::builder().path(&path).open().expect("a TPM");
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    transmit(&mut tpm, &create_primary_rsa(4096));
    tpm.finalize().expect("closed");
    let mut tpm = Libtpms::builder().path(&path).open().expect("a TPM");
    assert_eq!(nv_read_counter(&mut tpm), 1);
}

#[test]
fn a_context_never_waits_in_transmit_for_anothers_long_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let open = || Libtpms::builder().path(&path).open().expect("a TPM");
    let (mut one, mut other) = (open(), open());
    transmit(&mut one, &create_primary_rsa(3072));
    transmit(&mut other, &get_random(8));
    // Queued behind the key search, and not run by transmit: cancelled there.
    if let Some(canceller) = other.canceller() {
        canceller.cancel().expect("cancelled");
        let code = response_code(&receive(&mut other));
        assert!(code == CANCELED || code == 0, "0x{code:x}");
    } else {
        receive(&mut other);
    }
    let code = response_code(&receive(&mut one));
    assert_eq!(code, 0, "the other's cancel was not for this one");
}

#[test]
fn commands_survive_a_storm_of_signals() {
    let storm = Storm::start();
    let mut tpm = new();
    for _ in 0..3 {
        assert!(!polls(&mut tpm, Duration::ZERO));
        transmit(&mut tpm, &create_primary_rsa(2048));
        assert!(polls(&mut tpm, PATIENCE));
        assert_eq!(response_code(&receive(&mut tpm)), 0);
        flush(&mut tpm);
        ok(&mut tpm, &get_random(16));
        transmit(&mut tpm, &create_primary_rsa(2048));
        assert_eq!(response_code(&receive(&mut tpm)), 0);
        flush(&mut tpm);
    }
    drop(tpm);
    assert!(storm.stop() > 20, "hardly a storm");
}

/// Raises SIGALRM at 1 kHz. Only threads of the test may take it.
struct Storm;

static SIGNALS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
static STRAY: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

extern "C" fn on_alarm(_: libc::c_int) {
    use std::sync::atomic::Ordering;
    SIGNALS.fetch_add(1, Ordering::Relaxed);
    let mut name = [0_u8; 16];
    // SAFETY: a place of 16 bytes, as the call needs.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    if name.starts_with(b"rusttcti") {
        STRAY.fetch_add(1, Ordering::Relaxed);
    }
}

impl Storm {
    fn start() -> Self {
        Self::every(1000);
        Self
    }

    fn every(microseconds: libc::suseconds_t) {
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: microseconds,
        };
        let timer = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // SAFETY: a handler that uses atomics and one system call; no SA_RESTART,
        // so that system calls are interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_alarm as *const () as usize;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
                0
            );
            assert_eq!(
                libc::syscall(
                    libc::SYS_setitimer,
                    libc::ITIMER_REAL,
                    &timer,
                    std::ptr::null_mut::<libc::itimerval>()
                ),
                0
            );
        }
    }

    fn stop(self) -> usize {
        use std::sync::atomic::Ordering;
        Self::every(0);
        assert_eq!(
            STRAY.load(Ordering::Relaxed),
            0,
            "a handler ran on the worker"
        );
        SIGNALS.load(Ordering::Relaxed)
    }
}

#[test]
fn many_contexts_take_turns_on_one_tpm() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut first = Libtpms::builder().path(&path).open().expect("a TPM");
    ok(&mut first, &nv_define_counter());
    ok(&mut first, &nv_increment());
    let (sender, done) = mpsc::channel();
    for _ in 0..4 {
        let (path, sender) = (path.clone(), sender.clone());
        thread::spawn(move || {
            let mut tpm = Libtpms::builder().path(&path).open().expect("a TPM");
            for _ in 0..25 {
                ok(&mut tpm, &nv_increment());
                assert_eq!(ok(&mut tpm, &get_random(16)).len(), 28);
            }
            sender.send(()).expect("heard");
        });
    }
    for _ in 0..4 {
        done.recv_timeout(PATIENCE).expect("no thread failed");
    }
    assert_eq!(nv_read_counter(&mut first), 101);
}
