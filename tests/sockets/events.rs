// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and mssim in event loops, under signals, with few descriptors and
//! across fork.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::hostile::{RESPONSE, Reaction, assert_works, on_all_routes, routes, send};
use rusttcti_kit::vtable::{Vtable, rc};
use rusttcti_kit::{again, signals};

fn poll_fd(tcti: Vtable) -> RawFd {
    assert_eq!(tcti.poll_handles(0).1, 1);
    let (code, count, handles) = tcti.poll_handles(1);
    assert_eq!((code, count), (rc::SUCCESS, 1));
    assert_eq!(handles[0].events, PollFlags::IN.bits() as i16);
    handles[0].fd
}

fn is_readable(fd: RawFd, milliseconds: i64) -> bool {
    // SAFETY: the descriptor is the context's, which outlives this.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let timeout = rustix::event::Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: milliseconds % 1000 * 1_000_000,
    };
    poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        Some(&timeout),
    )
    .expect("poll")
        == 1
}

#[test]
fn a_poll_handle_is_readable_exactly_when_there_is_progress() {
    on_all_routes(|route| {
        let (go, wait) = channel();
        let frame = route.frame(&RESPONSE);
        let peer = route.peer(vec![
            Reaction::SendInTwo(vec![], wait, frame.clone()),
            Reaction::SendSlowly(frame, Duration::from_millis(1)),
        ]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        // The descriptor may be asked for in advance, for the next command.
        let early = poll_fd(tcti);
        send(tcti);
        assert_eq!(poll_fd(tcti), early, "{route:?}");
        assert!(!is_readable(early, 50), "{route:?}: nothing was said yet");
        assert_eq!(tcti.receive(0).0, rc::TRY_AGAIN);
        go.send(()).unwrap();
        assert!(
            is_readable(early, 10_000),
            "{route:?}: the response is there"
        );
        loop {
            match tcti.receive(0) {
                (rc::TRY_AGAIN, _) => assert!(is_readable(early, 10_000), "{route:?}"),
                received => {
                    assert_eq!(received, (rc::SUCCESS, RESPONSE.to_vec()), "{route:?}");
                    break;
                }
            }
        }
        // A loop over bytes that come one by one: each wake-up takes what is there.
        send(tcti);
        let fd = poll_fd(tcti);
        let mut wakes = 0;
        while is_readable(fd, 10_000) {
            wakes += 1;
            match tcti.receive(0) {
                (rc::TRY_AGAIN, _) => {}
                received => {
                    assert_eq!(received, (rc::SUCCESS, RESPONSE.to_vec()), "{route:?}");
                    break;
                }
            }
        }
        assert!((2..100).contains(&wakes), "{route:?}: {wakes} wake-ups");
    });
}

#[test]
fn no_signal_is_ever_seen() {
    for route in routes() {
        let pause = Duration::from_micros(300);
        let slowly = || Reaction::SendSlowly(route.frame(&RESPONSE), pause);
        let peer = route.peer((0..60).map(|_| slowly()).collect());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _storm = signals::storm_on_this_thread(scope, &done);
            for at in 0..6 {
                let context = route.open(&peer);
                let tcti = Vtable(context.as_ptr());
                for timeout in [-1, 0, 3, 10_000] {
                    send(tcti);
                    let began = Instant::now();
                    loop {
                        match tcti.receive(timeout) {
                            (rc::TRY_AGAIN, _) => assert!(began.elapsed() < PATIENCE),
                            received => {
                                let expected = (rc::SUCCESS, RESPONSE.to_vec());
                                assert_eq!(received, expected, "{route:?}, {at}, {timeout}");
                                break;
                            }
                        }
                    }
                }
                // The time does not begin anew with each signal.
                if route.transport == "swtpm" {
                    assert_eq!(tcti.set_locality(2), rc::SUCCESS, "{route:?}");
                }
            }
        });
    }
}

#[test]
fn a_timeout_ends_under_signals_too() {
    for route in routes() {
        let (closed, _keep) = channel();
        let peer = route.peer(vec![Reaction::Silence(closed)]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _storm = signals::storm_on_this_thread(scope, &done);
            send(tcti);
            let began = Instant::now();
            assert_eq!(tcti.receive(100).0, rc::TRY_AGAIN);
            let took = began.elapsed();
            assert!(
                (Duration::from_millis(100)..PATIENCE).contains(&took),
                "{route:?}: {took:?}"
            );
        });
    }
}

#[test]
fn no_sigpipe_is_raised() {
    static PIPES: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        PIPES.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler counts, and nothing else.
    unsafe { libc::signal(libc::SIGPIPE, count as *const () as usize) };
    on_all_routes(|route| {
        let peer = route.peer(
            (0..20)
                .map(|_| Reaction::SendAndClose(route.frame(&RESPONSE)))
                .collect(),
        );
        let context = route.open(&peer);
        for _ in 0..20 {
            // Into a connection that was closed, where it was kept; that may be
            // seen by the write, or by the read that follows.
            if Vtable(context.as_ptr()).transmit(&get_random(2)) == rc::SUCCESS {
                Vtable(context.as_ptr()).receive(-1);
            }
        }
    });
    assert_eq!(PIPES.load(Ordering::Relaxed), 0);
}

fn descriptors() -> BTreeSet<RawFd> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("the descriptors");
    let numbers = listing.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse());
    let all: BTreeSet<_> = numbers.map(|number| number.unwrap()).collect();
    // Without that of the listing itself.
    all.into_iter()
        .filter(|fd| rustix::fs::readlink(format!("/proc/self/fd/{fd}"), []).is_ok())
        .collect()
}

#[test]
fn descriptors_are_high_and_private_and_gone_after_finalize() {
    let routes = routes();
    let peers: Vec<_> = routes.iter().map(|route| route.peer(vec![])).collect();
    let chains: Vec<_> = routes
        .iter()
        .zip(&peers)
        .map(|(route, peer)| route.chain(peer))
        .collect();
    let status = again::only!("descriptors_of_a_process_without_standard_streams")
        .env("RUSTTCTI_TEST_CHAINS", chains.join(" "))
        .status()
        .expect("this program runs");
    assert_eq!(
        status.code(),
        Some(ALL_CHECKED),
        "1 and a line of the check"
    );
}

#[test]
#[ignore = "a part of descriptors_are_high_and_private_and_gone_after_finalize"]
fn descriptors_of_a_process_without_standard_streams() {
    let chains = std::env::var("RUSTTCTI_TEST_CHAINS").expect("chains");
    // SAFETY: nobody uses them; what is said from here on goes nowhere.
    unsafe { (0..3).for_each(|fd| assert_eq!(libc::close(fd), 0)) };
    // Panics can't be seen: the exit status tells where.
    let check = |right: bool, line: u32| {
        if !right {
            std::process::exit(1 + (line % 254) as i32);
        }
    };
    let before = descriptors();
    for chain in chains.split(' ') {
        let context = rusttcti::Context::new(rusttcti::open(chain).expect("it opens"));
        let tcti = Vtable(context.as_ptr());
        for _ in 0..3 {
            let early = tcti.poll_handles(1).2[0].fd;
            check(early > 2, line!());
            check(tcti.transmit(&get_random(2)) == rc::SUCCESS, line!());
            for fd in descriptors().difference(&before) {
                check(*fd > 2, line!());
                // SAFETY: it is only asked about.
                let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
                check(flags == libc::FD_CLOEXEC, line!());
            }
            check(tcti.receive(-1).1 == RESPONSE, line!());
        }
        // Also with a command under way.
        check(tcti.transmit(&get_random(2)) == rc::SUCCESS, line!());
        tcti.finalize();
        check(descriptors() == before, line!());
    }
    std::process::exit(ALL_CHECKED);
}

/// The exit status of that process, in which nothing can be said.
const ALL_CHECKED: i32 = 255;

#[test]
fn a_child_neither_holds_nor_disturbs_its_parent_s_connection() {
    for route in routes() {
        let (closed, is_closed) = channel();
        let (go, wait) = channel();
        let frame = route.frame(&RESPONSE);
        let peer = route.peer(vec![
            Reaction::SendInTwo(vec![], wait, frame),
            Reaction::Silence(closed),
        ]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        send(tcti);
        let (hold, held) = rustix::pipe::pipe().expect("a pipe");
        // SAFETY: the child calls functions that lock nothing of the parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // The child: refused, finalizes, and stays alive until the parent ends.
            // Where it may go on, it has sent no command of its own.
            drop(held);
            let refused = matches!(tcti.receive(0).0, rc::BAD_CONTEXT | rc::BAD_SEQUENCE);
            tcti.finalize();
            drop(context);
            let _ = rustix::io::read(&hold, &mut [0; 1]);
            // SAFETY: nothing of the parent's is flushed or ended.
            unsafe { libc::_exit(if refused { 0 } else { 1 }) };
        }
        drop(hold);
        go.send(()).unwrap();
        assert_eq!(
            tcti.receive(-1),
            (rc::SUCCESS, RESPONSE.to_vec()),
            "{route:?}"
        );
        send(tcti);
        tcti.finalize();
        is_closed
            .recv_timeout(PATIENCE)
            .expect("closed for good, though the child lives");
        drop(held);
        let mut status = 0;
        // SAFETY: the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "{route:?}");
    }
}

#[test]
fn a_context_that_worked_works_after_its_peer_was_away() {
    on_all_routes(|route| {
        let peer = route.peer(vec![]);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        assert_works(route, tcti);
        drop(peer);
        // It is gone: whether transmit or receive tells.
        let code = match tcti.transmit(&get_random(2)) {
            rc::SUCCESS => tcti.receive(-1).0,
            code => code,
        };
        assert_eq!(code, rc::NO_CONNECTION, "{route:?}");
        assert_eq!(
            tcti.transmit(&get_random(2)),
            rc::NO_CONNECTION,
            "{route:?}"
        );
    });
}
