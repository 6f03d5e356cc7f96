// SPDX-License-Identifier: BSD-2-Clause
//! Exchanges that succeed, also slow ones.

use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rusttcti::wire::CommandCode;
use rusttcti::{Context, ErrorKind, Pipes, Stream, Tcti, TctiExt};
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::poll::polls;
use rusttcti_kit::pty::Pty;
use rusttcti_kit::scripted::answer;
use rusttcti_kit::signals;
use rusttcti_kit::swtpm::Swtpm;

use super::{KINDS, Line, terminal};

const SOON: Option<Duration> = Some(Duration::from_secs(20));
/// Longer than any call takes that does not wait.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn a_tpm_answers_over_each_kind_of_stream() {
    for (kind, open) in KINDS {
        let Line { tpm, peer } = open();
        let served = peer.serve();
        let mut context = Context::new(tpm);
        for size in [1, 16, 32] {
            let response = context
                .execute(&get_random(size), SOON)
                .unwrap_or_else(|error| panic!("{kind}: {}", error.report()));
            assert_eq!(
                (response_code(&response), response.len()),
                (0, 12 + usize::from(size))
            );
        }
        // The longest command and the longest response of a TPM pass whole.
        let long = command(CommandCode::SELF_TEST, &[0; 4086]);
        assert_eq!(context.execute(&long, SOON).expect(kind).len(), 10);
        drop(context);
        if kind != "tty" {
            served.join().expect("it saw the end");
        }
    }
}

#[test]
fn a_child_s_pipes_are_a_way_to_a_tpm() {
    let swtpm = Swtpm::tcp();
    let mut child = Command::new("tpm2_send")
        .args(["-T", &format!("swtpm:{}", swtpm.conf())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tpm2_send runs");
    let (stdout, stdin) = (child.stdout.take(), child.stdin.take());
    let mut tpm = Stream::new(Pipes::new(stdout.expect("piped"), stdin.expect("piped")));
    for _ in 0..3 {
        let response = tpm.execute(&get_random(16), SOON).expect("random bytes");
        assert_eq!((response_code(&response), response.len()), (0, 28));
    }
    tpm.finalize().expect("the pipes are closed");
    child.wait().expect("at which it ends");
}

#[test]
fn no_timeout_is_overstayed_and_nothing_lost_wherever_the_peer_stalls() {
    let response = answer(28);
    for (kind, open) in KINDS {
        let Line { mut tpm, mut peer } = open();
        for cut in 0..response.len() {
            tpm.transmit(&get_random(16)).expect(kind);
            peer.command().expect(kind);
            peer.send(&response[..cut]);
            if cut > 0 {
                assert!(polls(&mut *tpm, AT_ONCE), "{kind}: {cut}");
            }
            for timeout in [Duration::ZERO, Duration::from_millis(2)] {
                let began = Instant::now();
                let error = tpm
                    .receive(&mut [0; 4096], Some(timeout))
                    .expect_err("it is not whole");
                assert_eq!(error.kind(), ErrorKind::TryAgain, "{kind}: {cut}");
                assert!(
                    (timeout..AT_ONCE).contains(&began.elapsed()),
                    "{kind}: {cut}"
                );
            }
            assert!(
                !polls(&mut *tpm, Duration::ZERO),
                "{kind}: {cut}: all was taken"
            );
            peer.send(&response[cut..]);
            let mut buffer = [0; 4096];
            let size = tpm.receive(&mut buffer, None).expect(kind);
            assert_eq!(buffer[..size], response, "{kind}: {cut}");
        }
    }
}

#[test]
fn the_poll_handle_tells_when_a_response_comes_and_not_before() {
    for (kind, open) in KINDS {
        let Line { mut tpm, mut peer } = open();
        for _ in 0..3 {
            assert!(!polls(&mut *tpm, Duration::ZERO), "{kind}");
            tpm.transmit(&get_random(16)).expect(kind);
            peer.command().expect(kind);
            assert!(!polls(&mut *tpm, Duration::ZERO), "{kind}");
            peer.send(&answer(12));
            assert!(polls(&mut *tpm, AT_ONCE), "{kind}");
            assert_eq!(
                tpm.receive(&mut [0; 4096], Some(Duration::ZERO))
                    .expect(kind),
                12
            );
        }
    }
}

#[test]
fn signals_change_neither_timeouts_nor_responses() {
    for (kind, open) in KINDS {
        let Line { mut tpm, peer } = open();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _storm = signals::storm_on_this_thread(scope, &done);
            let silent = Duration::from_millis(100);
            let (mut later, began) = (peer, Instant::now());
            tpm.transmit(&command(CommandCode::SELF_TEST, &[0; 4086]))
                .expect(kind);
            let error = tpm
                .receive(&mut [0; 4096], Some(silent))
                .expect_err("silence");
            assert_eq!(error.kind(), ErrorKind::TryAgain, "{kind}");
            assert!((silent..AT_ONCE).contains(&began.elapsed()), "{kind}");
            later.command().expect(kind);
            later.send(&answer(10));
            assert_eq!(tpm.receive(&mut [0; 4096], None).expect(kind), 10);
            later.serve();
            for _ in 0..50 {
                assert_eq!(tpm.execute(&get_random(16), SOON).expect(kind).len(), 28);
            }
        });
    }
}

#[test]
fn a_terminal_that_reads_nothing_as_zero_bytes_has_not_ended() {
    let mut pty = Pty::new();
    let tty = terminal(pty.path());
    let mut attributes = rustix::termios::tcgetattr(&tty).expect("attributes");
    attributes.special_codes[rustix::termios::SpecialCodeIndex::VMIN] = 0;
    attributes.special_codes[rustix::termios::SpecialCodeIndex::VTIME] = 0;
    let now = rustix::termios::OptionalActions::Now;
    rustix::termios::tcsetattr(&tty, now, &attributes).expect("set");
    let mut tpm = Stream::new(tty);
    for _ in 0..2 {
        tpm.transmit(&get_random(16)).expect("sent");
        pty.command();
        let error = tpm
            .receive(&mut [0; 4096], Some(Duration::ZERO))
            .expect_err("nothing");
        assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
        pty.answer(&answer(28)[..5]);
        let brief = Some(Duration::from_millis(5));
        let error = tpm.receive(&mut [0; 4096], brief).expect_err("a part");
        assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
        pty.answer(&answer(28)[5..]);
        assert_eq!(tpm.receive(&mut [0; 4096], SOON).expect("the rest"), 28);
    }
}

#[test]
fn execute_gives_the_whole_response_or_says_that_the_time_ran_out() {
    let Line { mut tpm, mut peer } = super::unix();
    let brief = Some(Duration::from_millis(20));
    let error = tpm.execute(&get_random(16), brief).expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::TryAgain);
    // The command is still under way.
    let error = tpm.transmit(&get_random(16)).expect_err("one at a time");
    assert_eq!(error.kind(), ErrorKind::BadSequence);
    peer.command().expect("sent once");
    peer.send(&answer(28));
    assert_eq!(tpm.receive(&mut [0; 4096], None).expect("later"), 28);
    let error = tpm.receive(&mut [0; 4096], None).expect_err("no command");
    assert_eq!(error.kind(), ErrorKind::BadSequence);
    peer.serve();
    assert_eq!(tpm.execute(&get_random(4), None).expect("random").len(), 16);
}
