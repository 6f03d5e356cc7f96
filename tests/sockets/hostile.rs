// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and mssim with peers that misbehave: the call returns the right error in time,
//! keeps the received bytes if it can, and the context works afterwards.

use std::os::fd::BorrowedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use rusttcti_kit::hostile::{RESPONSE, Reaction, Route, assert_works, on_all_routes, send};
use rusttcti_kit::vtable::{Vtable, rc};

/// More than anything here takes, and less than the transport waits for a silent peer.
const LONG: Duration = Duration::from_secs(4);

/// Asserts that each of `reactions` makes receive return `code` at once, and that
/// the context works afterwards.
fn assert_each_brings(code: u32, reactions: impl Fn(Route) -> Vec<Reaction> + Sync) {
    on_all_routes(|route| {
        let reactions = reactions(route);
        let count = reactions.len();
        // One good command after each bad one.
        let reactions = reactions
            .into_iter()
            .flat_map(|reaction| [reaction, Reaction::Answer])
            .collect();
        let peer = route.peer(reactions);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        for at in 0..count {
            send(tcti);
            let began = Instant::now();
            assert_eq!(tcti.receive(-1), (code, vec![]), "{route:?}, reaction {at}");
            assert!(began.elapsed() < LONG, "{route:?}, reaction {at}");
            assert_works(route, tcti);
        }
    });
}

#[test]
fn a_size_that_no_response_has_is_malformed_at_once() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |route| {
        let sizes = [0, 1, 9, 4097, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        sizes.map(|size| Reaction::Send(route.claim(size))).into()
    });
}

#[test]
fn garbage_is_malformed() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |route| {
        let mut reactions = vec![
            Reaction::Send(vec![0xff; 64]),
            Reaction::Send(b"HTTP/1.1 400 Bad Request".into()),
        ];
        if route.transport == "mssim" {
            // A frame whose response says something else, and one with a bad end.
            let mut frame = route.frame(&RESPONSE);
            frame[4 + 5] = 11;
            reactions.push(Reaction::Send(frame));
            let mut frame = route.frame(&RESPONSE);
            *frame.last_mut().unwrap() = 1;
            reactions.push(Reaction::Send(frame));
        }
        reactions
    });
}

#[test]
fn bytes_after_the_response_are_malformed() {
    assert_each_brings(rc::MALFORMED_RESPONSE, |route| {
        let with = |extra: &[u8]| Reaction::Send([&route.frame(&RESPONSE)[..], extra].concat());
        vec![with(&[0]), with(&route.frame(&RESPONSE)), with(&[7; 4000])]
    });
}

/// Waits until unsolicited bytes have come, on a connection that outlives its
/// command.
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
    on_all_routes(|route| {
        let (again, wait) = channel();
        let twice = Reaction::SendInTwo(route.frame(&RESPONSE), wait, route.frame(&RESPONSE));
        let peer = route.peer(vec![twice, Reaction::Send(route.frame(&OTHER))]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        assert_works(route, tcti);
        again.send(()).unwrap();
        if route.persistent || route.transport == "mssim" {
            wait_for_more(tcti);
        }
        send(tcti);
        assert_eq!(tcti.receive(-1), (rc::SUCCESS, OTHER.to_vec()), "{route:?}");
        assert_works(route, tcti);
    });
}

#[test]
fn a_peer_that_closes_too_early_is_no_connection() {
    assert_each_brings(rc::NO_CONNECTION, |route| {
        let frame = route.frame(&RESPONSE);
        let mut reactions: Vec<_> = (0..frame.len())
            .map(|length| Reaction::SendAndClose(frame[..length].to_vec()))
            .collect();
        reactions.push(Reaction::Reset);
        reactions
    });
}

#[test]
fn a_response_byte_by_byte_is_read_by_one_call() {
    on_all_routes(|route| {
        let reaction = Reaction::SendSlowly(route.frame(&RESPONSE), Duration::from_millis(1));
        let peer = route.peer(vec![reaction]);
        let context = route.open(&peer);
        assert_works(route, Vtable(context.as_ptr()));
    });
}

#[test]
fn a_response_byte_by_byte_survives_any_number_of_timeouts() {
    on_all_routes(|route| {
        let pause = Duration::from_millis(3);
        let reactions = (0..3).flat_map(|_| {
            [
                Reaction::SendSlowly(route.frame(&RESPONSE), pause),
                Reaction::Answer,
            ]
        });
        let peer = route.peer(reactions.collect());
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        for timeout in [0, 1, 5] {
            send(tcti);
            let began = Instant::now();
            let mut tries = 0;
            loop {
                match tcti.receive(timeout) {
                    (rc::TRY_AGAIN, _) => tries += 1,
                    received => {
                        assert_eq!(received, (rc::SUCCESS, RESPONSE.to_vec()), "{route:?}");
                        break;
                    }
                }
                assert!(began.elapsed() < LONG, "{route:?}");
            }
            assert!(tries > 0, "{route:?}: it came too fast");
            assert_works(route, tcti);
        }
    });
}

#[test]
fn a_response_that_stops_anywhere_goes_on_where_it_stopped() {
    on_all_routes(|route| {
        let frame = route.frame(&RESPONSE);
        for length in 0..frame.len() {
            let (go, wait) = channel();
            let (first, second) = frame.split_at(length);
            let peer = route.peer(vec![Reaction::SendInTwo(first.into(), wait, second.into())]);
            let context = route.open(&peer);
            let tcti = Vtable(context.as_ptr());
            send(tcti);
            for timeout in [0, 2, 0] {
                assert_eq!(
                    tcti.receive(timeout).0,
                    rc::TRY_AGAIN,
                    "{route:?}, {length}"
                );
            }
            go.send(()).unwrap();
            assert_eq!(
                tcti.receive(-1),
                (rc::SUCCESS, RESPONSE.to_vec()),
                "{route:?}, {length}"
            );
            assert_works(route, tcti);
        }
    });
}

#[test]
fn a_timeout_is_kept() {
    on_all_routes(|route| {
        let (closed, is_closed) = channel();
        let peer = route.peer(vec![Reaction::Silence(closed)]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        send(tcti);
        for milliseconds in [0, 1, 200] {
            let began = Instant::now();
            assert_eq!(tcti.receive(milliseconds as i32).0, rc::TRY_AGAIN);
            let took = began.elapsed();
            assert!(
                took >= Duration::from_millis(milliseconds),
                "{route:?}: {took:?}"
            );
            assert!(took < LONG, "{route:?}: {took:?}");
        }
        // A context that is given up closes its connection.
        tcti.finalize();
        is_closed.recv_timeout(LONG).expect("it was closed");
    });
}

#[test]
fn a_buffer_that_is_too_small_keeps_the_response_and_what_lies_behind_it() {
    on_all_routes(|route| {
        let peer = route.peer(vec![]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        send(tcti);
        let mut memory = [0x5a; 64];
        for size in 0..RESPONSE.len() {
            let (code, needed) = tcti.receive_into(&mut memory[..size], -1);
            assert_eq!(
                (code, needed),
                (rc::INSUFFICIENT_BUFFER, RESPONSE.len()),
                "{route:?}"
            );
            assert_eq!(memory, [0x5a; 64], "{route:?}");
        }
        let (code, size) = tcti.receive_into(&mut memory[..RESPONSE.len()], -1);
        assert_eq!((code, size), (rc::SUCCESS, RESPONSE.len()), "{route:?}");
        assert_eq!(memory[..size], RESPONSE, "{route:?}");
        assert_eq!(memory[size..], [0x5a; 64][size..], "{route:?}");
    });
}
