// SPDX-License-Identifier: BSD-2-Clause
//! A stream that is out of step is closed, and each later call says so.

use std::time::{Duration, Instant};

use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::answer;

use super::{KINDS, Line};

/// The deadline of `transmit` is 5 s, and a machine may be slow.
const IN_TIME: std::ops::Range<Duration> = Duration::from_secs(4)..Duration::from_secs(20);

/// Asserts that each later call reports that the connection was lost, and why.
fn is_lost(kind: &str, tpm: &mut dyn Tcti, why: &str) {
    for _ in 0..2 {
        for result in [
            tpm.transmit(&get_random(16)),
            tpm.receive(&mut [0; 4096], None).map(drop),
            tpm.poll_handles().map(drop),
        ] {
            let error = result.expect_err("it is lost");
            assert_eq!(error.kind(), ErrorKind::NoConnection, "{kind}");
            let told = error.report();
            assert!(
                told.contains("was lost: ") && told.contains(why),
                "{kind}: {told}"
            );
        }
    }
    tpm.finalize().expect("nothing to end");
}

/// Waits until so many bytes have come.
fn until_there(tpm: &mut dyn Tcti, count: usize) {
    let fd = tpm.poll_handles().expect("one")[0].fd;
    // SAFETY: the stream keeps its descriptor open.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rusttcti_kit::proc::until("the bytes", || {
        rustix::io::ioctl_fionread(fd).expect("a number") >= count as u64
    });
}

#[test]
fn what_no_response_is_loses_the_line() {
    let mut long = answer(28);
    long.push(0);
    let mut short = answer(28);
    short[5] = 9;
    let mut huge = answer(28);
    huge[2] = 0x7f;
    for (bytes, why) in [
        (long, "29 bytes came"),
        (short, "9 bytes"),
        (huge, "10 to 4096"),
    ] {
        for (kind, open) in KINDS {
            let Line { mut tpm, mut peer } = open();
            tpm.transmit(&get_random(16)).expect(kind);
            peer.command().expect(kind);
            peer.send(&bytes);
            until_there(&mut *tpm, bytes.len());
            let error = tpm.receive(&mut [0; 4096], None).expect_err("no response");
            assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{kind}");
            assert!(error.report().contains(why), "{kind}: {}", error.report());
            is_lost(kind, &mut *tpm, why);
        }
    }
}

#[test]
fn a_peer_that_ends_in_the_middle_is_named_and_loses_the_line() {
    for (kind, open) in KINDS {
        for cut in [0, 4, 10, 27] {
            let Line { mut tpm, mut peer } = open();
            tpm.transmit(&get_random(16)).expect(kind);
            peer.command().expect(kind);
            peer.send(&answer(28)[..cut]);
            drop(peer);
            let error = tpm.receive(&mut [0; 4096], None).expect_err("it is gone");
            // A terminal that hangs up fails with EIO.
            let kinds = [ErrorKind::NoConnection, ErrorKind::IoError];
            assert!(kinds.contains(&error.kind()), "{kind}: {error:?}");
            is_lost(kind, &mut *tpm, "");
        }
    }
}

#[test]
fn a_peer_that_went_away_before_the_command_is_told_by_transmit() {
    for (kind, open) in KINDS {
        let Line { mut tpm, peer } = open();
        drop(peer);
        let error = tpm.transmit(&get_random(16)).expect_err("it is gone");
        let kinds = [ErrorKind::NoConnection, ErrorKind::IoError];
        assert!(kinds.contains(&error.kind()), "{kind}: {error:?}");
        is_lost(kind, &mut *tpm, "");
    }
}

#[test]
fn bytes_that_no_command_asked_for_are_never_taken_for_a_response() {
    for (kind, open) in KINDS {
        let Line { mut tpm, mut peer } = open();
        peer.send(&answer(28));
        assert!(
            rusttcti_kit::poll::polls(&mut *tpm, Duration::from_secs(2)),
            "{kind}"
        );
        let error = tpm.transmit(&get_random(16)).expect_err("out of step");
        assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{kind}");
        is_lost(kind, &mut *tpm, "that no command asked for");
    }
}

#[test]
fn a_peer_that_takes_only_a_part_of_a_command_fails_transmit_in_time() {
    std::thread::scope(|scope| {
        for (kind, open) in KINDS {
            scope.spawn(move || {
                let Line { mut tpm, peer } = open();
                // More than all buffers between them hold.
                let mut command = get_random(2);
                command.resize(64 << 20, 0);
                command[2..6].copy_from_slice(&(64u32 << 20).to_be_bytes());
                let began = Instant::now();
                let error = tpm.transmit(&command).expect_err("it is not read");
                assert_eq!(error.kind(), ErrorKind::IoError, "{kind}: {error:?}");
                assert!(
                    IN_TIME.contains(&began.elapsed()),
                    "{kind}: {:?}",
                    began.elapsed()
                );
                assert!(
                    error.report().contains("no more for 5s"),
                    "{}",
                    error.report()
                );
                is_lost(kind, &mut *tpm, "no more for 5s");
                drop(peer);
            });
        }
    });
}

#[test]
fn a_peer_that_takes_nothing_of_a_command_leaves_the_line_in_step() {
    let (stream, peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    // Fills the socket's buffer.
    stream.set_nonblocking(true).expect("set");
    let mut filled = 0;
    while let Ok(count) = std::io::Write::write(&mut &stream, &[0; 4096]) {
        filled += count;
    }
    let mut tpm = rusttcti::Stream::new(stream);
    let began = Instant::now();
    let error = tpm.transmit(&get_random(16)).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error:?}");
    assert!(IN_TIME.contains(&began.elapsed()), "{:?}", began.elapsed());
    let mut old = vec![0; filled];
    std::io::Read::read_exact(&mut &peer, &mut old).expect("what filled it");
    let same = peer.try_clone().expect("a copy");
    super::Peer::of(peer, same).serve();
    let random = rusttcti::TctiExt::execute(&mut tpm, &get_random(16), None);
    assert_eq!(random.expect("it goes on").len(), 28);
}

#[test]
fn a_finalized_stream_is_closed_and_says_so() {
    for (kind, open) in KINDS {
        let Line { mut tpm, mut peer } = open();
        tpm.finalize().expect(kind);
        if kind != "tty" {
            assert!(peer.command().is_none(), "{kind}: the peer sees the end");
        }
        let error = tpm.transmit(&get_random(16)).expect_err("closed");
        assert_eq!(
            error.to_string(),
            "the connection to the TPM was closed",
            "{kind}"
        );
    }
}
