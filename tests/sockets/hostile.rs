// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and mssim with peers that misbehave: the right error in time, nothing
//! lost that could be kept, and a context that works afterwards.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use rusttcti_kit::hostile::{Act, RESPONSE, Way, assert_works, gate, in_all_ways, send};
use rusttcti_kit::vtable::{Vtable, rc};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(4);

/// Each of `acts` brings `code` at once, and the context works afterwards.
fn assert_each_brings(code: u32, acts: impl Fn(Way) -> Vec<Act> + Sync) {
    in_all_ways(|way| {
        let acts = acts(way);
        let count = acts.len();
        // One good command after each bad one.
        let acts = acts
            .into_iter()
            .flat_map(|act| [act, Act::Answer])
            .collect();
        let peer = way.peer(acts);
        let context = way.open(&peer);
        let tcti = Vtable(context.as_ptr());
        for at in 0..count {
            send(tcti);
            let began = Instant::now();
            assert_eq!(tcti.receive(-1), (code, vec![]), "{way:?}, act {at}");
            assert!(began.elapsed() < LONG, "{way:?}, act {at}");
            assert_works(way, tcti);
        }
    });
}

#[test]
fn a_size_that_no_response_has_is_malformed_at_once() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |way| {
        let sizes = [0, 1, 9, 4097, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        sizes.map(|size| Act::Say(way.claim(size))).into()
    });
}

#[test]
fn garbage_is_malformed() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |way| {
        let mut acts = vec![
            Act::Say(vec![0xff; 64]),
            Act::Say(b"HTTP/1.1 400 Bad Request".into()),
        ];
        if way.transport == "mssim" {
            // A frame whose response says something else, and one with a bad end.
            let mut frame = way.frame(&RESPONSE);
            frame[4 + 5] = 11;
            acts.push(Act::Say(frame));
            let mut frame = way.frame(&RESPONSE);
            *frame.last_mut().unwrap() = 1;
            acts.push(Act::Say(frame));
        }
        acts
    });
}

#[test]
fn bytes_after_the_response_are_malformed() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |way| {
        let with = |extra: &[u8]| Act::Say([&way.frame(&RESPONSE)[..], extra].concat());
        vec![with(&[0]), with(&way.frame(&RESPONSE)), with(&[7; 4000])]
    });
}

/// Waits until something has come that nobody asked for, on a connection that
/// outlives its command.
fn wait_for_more(tcti: Vtable) {
    let (code, _, handles) = tcti.poll_handles(1);
    assert_eq!(code, rc::SUCCESS);
    // SAFETY: the context keeps its descriptor open meanwhile.
    let connection = unsafe { BorrowedFd::borrow_raw(handles[0].fd) };
    let left = Timespec::try_from(LONG).expect("a time");
    let polled = poll(&mut [PollFd::new(&connection, PollFlags::IN)], Some(&left));
    assert_eq!(polled, Ok(1), "nothing came");
    // For so long a shared connection is used without a look at it.
    std::thread::sleep(Duration::from_millis(5));
}

#[test]
fn an_answer_that_comes_a_second_time_is_none_to_the_next_command() {
    const OTHER: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 0x01, 0x23];
    in_all_ways(|way| {
        let (again, wait) = gate();
        let twice = Act::SayInTwo(way.frame(&RESPONSE), wait, way.frame(&RESPONSE));
        let peer = way.peer(vec![twice, Act::Say(way.frame(&OTHER))]);
        let context = way.open(&peer);
        let tcti = Vtable(context.as_ptr());
        assert_works(way, tcti);
        again.send(()).unwrap();
        if way.persistent || way.transport == "mssim" {
            wait_for_more(tcti);
        }
        send(tcti);
        assert_eq!(tcti.receive(-1), (rc::SUCCESS, OTHER.to_vec()), "{way:?}");
        assert_works(way, tcti);
    });
}

#[test]
fn a_peer_that_closes_too_early_is_no_connection() {
    assert_each_brings(rc::NO_CONNECTION, |way| {
        let frame = way.frame(&RESPONSE);
        let mut acts: Vec<_> = (0..frame.len())
            .map(|length| Act::SayAndClose(frame[..length].to_vec()))
            .collect();
        acts.push(Act::Reset);
        acts
    });
}

#[test]
fn a_response_byte_by_byte_is_read_by_one_call() {
    in_all_ways(|way| {
        let act = Act::SaySlowly(way.frame(&RESPONSE), Duration::from_millis(1));
        let peer = way.peer(vec![act]);
        let context = way.open(&peer);
        assert_works(way, Vtable(context.as_ptr()));
    });
}

#[test]
fn a_response_byte_by_byte_survives_any_number_of_timeouts() {
    in_all_ways(|way| {
        let pause = Duration::from_millis(3);
        let acts = (0..3).flat_map(|_| [Act::SaySlowly(way.frame(&RESPONSE), pause), Act::Answer]);
        let peer = way.peer(acts.collect());
        let context = way.open(&peer);
        let tcti = Vtable(context.as_ptr());
        for timeout in [0, 1, 5] {
            send(tcti);
            let began = Instant::now();
            let mut tries = 0;
            loop {
                match tcti.receive(timeout) {
                    (rc::TRY_AGAIN, _) => tries += 1,
                    received => {
                        assert_eq!(received, (rc::SUCCESS, RESPONSE.to_vec()), "{way:?}");
                        break;
                    }
                }
                assert!(began.elapsed() < LONG, "{way:?}");
            }
            assert!(tries > 0, "{way:?}: it came too fast");
            assert_works(way, tcti);
        }
    });
}

#[test]
fn a_response_that_stops_anywhere_goes_on_where_it_stopped() {
    in_all_ways(|way| {
        let frame = way.frame(&RESPONSE);
        for length in 0..frame.len() {
            let (go, wait) = gate();
            let (first, second) = frame.split_at(length);
            let peer = way.peer(vec![Act::SayInTwo(first.into(), wait, second.into())]);
            let context = way.open(&peer);
            let tcti = Vtable(context.as_ptr());
            send(tcti);
            for timeout in [0, 2, 0] {
                assert_eq!(tcti.receive(timeout).0, rc::TRY_AGAIN, "{way:?}, {length}");
            }
            go.send(()).unwrap();
            assert_eq!(
                tcti.receive(-1),
                (rc::SUCCESS, RESPONSE.to_vec()),
                "{way:?}, {length}"
            );
            assert_works(way, tcti);
        }
    });
}

#[test]
fn a_timeout_is_kept() {
    in_all_ways(|way| {
        let (closed, is_closed) = gate();
        let peer = way.peer(vec![Act::Silence(closed)]);
        let context = way.open(&peer);
        let tcti = Vtable(context.as_ptr());
        send(tcti);
        for milliseconds in [0, 1, 200] {
            let began = Instant::now();
            assert_eq!(tcti.receive(milliseconds as i32).0, rc::TRY_AGAIN);
            let took = began.elapsed();
            assert!(
                took >= Duration::from_millis(milliseconds),
                "{way:?}: {took:?}"
            );
            assert!(took < LONG, "{way:?}: {took:?}");
        }
        // A context that is given up closes its connection.
        tcti.finalize();
        is_closed.recv_timeout(LONG).expect("it was closed");
    });
}

#[test]
fn a_buffer_that_is_too_small_keeps_the_response_and_what_lies_behind_it() {
    in_all_ways(|way| {
        let peer = way.peer(vec![]);
        let context = way.open(&peer);
        let tcti = Vtable(context.as_ptr());
        send(tcti);
        let mut memory = [0x5a; 64];
        for size in 0..RESPONSE.len() {
            let (code, needed) = tcti.receive_into(&mut memory[..size], -1);
            assert_eq!(
                (code, needed),
                (rc::INSUFFICIENT_BUFFER, RESPONSE.len()),
                "{way:?}"
            );
            assert_eq!(memory, [0x5a; 64], "{way:?}");
        }
        let (code, size) = tcti.receive_into(&mut memory[..RESPONSE.len()], -1);
        assert_eq!((code, size), (rc::SUCCESS, RESPONSE.len()), "{way:?}");
        assert_eq!(memory[..size], RESPONSE, "{way:?}");
        assert_eq!(memory[size..], [0x5a; 64][size..], "{way:?}");
    });
}
