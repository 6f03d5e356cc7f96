// SPDX-License-Identifier: BSD-2-Clause
//! swtpm and mssim with peers that do nothing: no call waits for ever.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rusttcti::{ErrorKind, Result, open};
use rusttcti_kit::hostile::{RESPONSE, Route, consent, on_all_routes};
use rusttcti_kit::peer::{Handler, Server};
use rusttcti_kit::vtable::{Vtable, rc};

/// The deadline of the transports is 5 s, and a machine may be slow.
const IN_TIME: std::ops::Range<Duration> = Duration::from_secs(4)..Duration::from_secs(20);

fn server(route: Route, main: Handler, other: Handler) -> Server {
    match route.tcp {
        true => Server::tcp(main, other),
        false => Server::unix(main, other),
    }
}

#[test]
fn a_peer_that_stops_reading_fails_transmit_in_time() {
    on_all_routes(|route| {
        // Reads nothing of a client's first command; answers in its next connection.
        let mut stuck = true;
        let serve: Handler = Box::new(move |mut conn| {
            let mut first = [0];
            match conn.read(&mut first) {
                Ok(1) if stuck => {
                    stuck = false;
                    // Until the client closes, without reading.
                    use rustix::event::{PollFd, PollFlags, poll};
                    let mut fds = [PollFd::new(&conn, PollFlags::RDHUP)];
                    poll(&mut fds, None).expect("poll");
                }
                Ok(1) => {
                    let rest = if route.transport == "mssim" {
                        8 + 12
                    } else {
                        11
                    };
                    let mut rest = vec![0; rest];
                    if conn.read_exact(&mut rest).is_ok() {
                        conn.send(&route.frame(&RESPONSE));
                        conn.wait_for_close();
                    }
                }
                _ => {}
            }
        });
        let peer = server(route, serve, Box::new(consent));
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        // More than all socket buffers between them hold.
        let size = 64 << 20;
        let mut command = rusttcti_kit::commands::get_random(2);
        command.resize(size, 0);
        command[2..6].copy_from_slice(&(size as u32).to_be_bytes());
        let began = Instant::now();
        assert_eq!(tcti.transmit(&command), rc::IO_ERROR, "{route:?}");
        assert!(
            IN_TIME.contains(&began.elapsed()),
            "{route:?}: {:?}",
            began.elapsed()
        );
        drop(command);
        // It works with the next connection.
        assert_eq!(
            tcti.transmit(&rusttcti_kit::commands::get_random(2)),
            rc::SUCCESS,
            "{route:?}"
        );
        assert_eq!(
            tcti.receive(-1),
            (rc::SUCCESS, RESPONSE.to_vec()),
            "{route:?}"
        );
    });
}

/// Asserts that opening `chain` fails in time, and how.
fn assert_open_fails_in_time(chain: &str, kind: ErrorKind) -> String {
    let began = Instant::now();
    let opened: Result<_> = open(chain).map(drop);
    let took = began.elapsed();
    let error = opened.expect_err(chain);
    assert_eq!(error.kind(), kind, "{chain}: {error}");
    assert!(IN_TIME.contains(&took), "{chain}: {took:?}");
    error.to_string()
}

#[test]
fn a_full_backlog_fails_init_in_time() {
    std::thread::scope(|scope| {
        // Nobody accepts, and the kernel holds no more.
        scope.spawn(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tpm");
            let listener = UnixListener::bind(&path).unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let _first = UnixStream::connect(&path).unwrap();
            let path = path.display();
            let chains = [
                format!("swtpm:path={path}"),
                format!("swtpm:path={path},persistent=1"),
                format!("mssim:path={path}"),
            ];
            std::thread::scope(|scope| {
                for chain in &chains {
                    scope.spawn(move || {
                        let text = assert_open_fails_in_time(chain, ErrorKind::NoConnection);
                        assert!(text.contains("busy with others?"), "{text}");
                    });
                }
            });
        });
        scope.spawn(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            rustix::net::listen(&listener, 0).unwrap();
            let port = listener.local_addr().unwrap().port();
            let _first = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let chains = [
                format!("swtpm:host=127.0.0.1,port={port}"),
                format!("swtpm:host=127.0.0.1,port={port},persistent=1"),
                format!("mssim:host=127.0.0.1,port={port}"),
            ];
            std::thread::scope(|scope| {
                for chain in &chains {
                    scope.spawn(move || {
                        let text = assert_open_fails_in_time(chain, ErrorKind::NoConnection);
                        assert!(text.contains("busy with others?"), "{text}");
                    });
                }
            });
        });
    });
}

#[test]
fn a_second_channel_that_does_not_answer_costs_no_more_than_its_deadline() {
    on_all_routes(|route| {
        let silent: Handler = Box::new(|mut conn| conn.wait_for_close());
        let main: Handler = Box::new(
            move |mut conn| {
                while conn.command().is_some() && conn.send(&RESPONSE) {}
            },
        );
        let peer = server(route, main, silent);
        if route.transport == "mssim" {
            // Without power there is no TPM.
            let text = assert_open_fails_in_time(&route.chain(&peer), ErrorKind::IoError);
            assert!(text.contains("did not answer POWER_ON"), "{text}");
            return;
        }
        // A swtpm that is busy with a long command serves us afterwards.
        let began = Instant::now();
        let context = route.open(&peer);
        assert!(IN_TIME.contains(&began.elapsed()), "{route:?}");
        let tcti = Vtable(context.as_ptr());
        assert_eq!(
            tcti.transmit(&rusttcti_kit::commands::get_random(2)),
            rc::SUCCESS
        );
        assert_eq!(tcti.receive(-1), (rc::SUCCESS, RESPONSE.to_vec()));
        let began = Instant::now();
        assert_eq!(tcti.set_locality(1), rc::TRY_AGAIN);
        assert!(IN_TIME.contains(&began.elapsed()), "{route:?}");
    });
}

/// Answers each command of a simulator's.
fn answer_all(route: Route) -> Handler {
    Box::new(move |mut conn| {
        while conn.read_exact(&mut [0; 9]).is_ok()
            && conn.command().is_some()
            && conn.send(&route.frame(&RESPONSE))
        {}
    })
}

/// The routes to a simulator.
fn on_all_routes_to_a_simulator(test: impl Fn(Route) + Sync) {
    on_all_routes(|route| {
        if route.transport == "mssim" {
            test(route);
        }
    });
}

/// The signal that takes a cancel back.
const CANCEL_OFF: [u8; 4] = 10_u32.to_be_bytes();

#[test]
fn a_simulator_that_is_slow_to_each_signal_has_no_deadline_for_each() {
    on_all_routes_to_a_simulator(|route| {
        let slow: Handler = Box::new(|mut conn| {
            while conn.read_exact(&mut [0; 4]).is_ok() {
                std::thread::sleep(Duration::from_secs(3));
                conn.send(&[0; 4]);
            }
        });
        let peer = server(route, answer_all(route), slow);
        let text = assert_open_fails_in_time(&route.chain(&peer), ErrorKind::IoError);
        assert!(text.contains("did not answer NV_ON"), "{text}");
    });
}

#[test]
fn a_simulator_that_does_not_take_a_cancel_back_keeps_no_response_waiting() {
    on_all_routes_to_a_simulator(|route| {
        let stubborn: Handler = Box::new(|mut conn| {
            let mut signal = [0; 4];
            while conn.read_exact(&mut signal).is_ok() {
                if signal == CANCEL_OFF {
                    return conn.wait_for_close();
                }
                conn.send(&[0; 4]);
            }
        });
        let peer = server(route, answer_all(route), stubborn);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        assert_eq!(
            tcti.transmit(&rusttcti_kit::commands::get_random(2)),
            rc::SUCCESS
        );
        assert_eq!(tcti.cancel(), rc::SUCCESS);
        let began = Instant::now();
        let timeout = if route.tcp { 200 } else { 0 };
        let received = std::iter::repeat_with(|| tcti.receive(timeout))
            .find(|received| received.0 != rc::TRY_AGAIN);
        assert_eq!(
            received,
            Some((rc::SUCCESS, RESPONSE.to_vec())),
            "{route:?}"
        );
        assert!(began.elapsed() < IN_TIME.start, "{route:?}");
    });
}

#[test]
fn a_simulator_that_accepts_a_client_on_the_command_channel_first_is_served() {
    on_all_routes_to_a_simulator(|route| {
        let (accepted, is_accepted) = std::sync::mpsc::channel();
        let mut serve = answer_all(route);
        let main: Handler = Box::new(move |conn| {
            accepted.send(()).unwrap();
            serve(conn);
        });
        let then: Handler = Box::new(move |conn| {
            if is_accepted.recv().is_ok() {
                consent(conn);
            }
        });
        let peer = server(route, main, then);
        let context = route.open(&peer);
        let tcti = Vtable(context.as_ptr());
        assert_eq!(
            tcti.transmit(&rusttcti_kit::commands::get_random(2)),
            rc::SUCCESS
        );
        assert_eq!(tcti.receive(-1), (rc::SUCCESS, RESPONSE.to_vec()));
    });
}

#[test]
fn a_second_channel_that_refuses_is_an_error() {
    on_all_routes(|route| {
        let refuse: Handler = Box::new(|mut conn| {
            while let Ok(1..) = conn.read(&mut [0; 64]) {
                conn.send(&[0, 0, 0, 3]);
            }
        });
        let peer = server(route, Box::new(|mut conn| conn.wait_for_close()), refuse);
        let error = open(&route.chain(&peer)).map(drop).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::IoError);
        let name = if route.transport == "mssim" {
            "POWER_ON"
        } else {
            "SET_LOCALITY"
        };
        let text = format!("refused {name} with result 0x3");
        assert!(error.to_string().contains(&text), "{error}");
    });
}

#[test]
fn a_swtpm_without_a_control_channel_has_no_locality_but_works() {
    for persistent in ["", ",persistent=1"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            loop {
                let mut conn = rusttcti_kit::peer::Conn::Tcp(listener.accept().unwrap().0);
                if conn.command().is_some() {
                    conn.send(&RESPONSE);
                    return conn.wait_for_close();
                }
            }
        });
        let chain = format!("swtpm:host=127.0.0.1,port={port}{persistent}");
        let context = rusttcti::Context::new(open(&chain).expect("it opens"));
        let tcti = Vtable(context.as_ptr());
        assert_eq!(tcti.set_locality(1), rc::NO_CONNECTION);
        assert_eq!(
            tcti.transmit(&rusttcti_kit::commands::get_random(2)),
            rc::SUCCESS
        );
        assert_eq!(tcti.receive(-1), (rc::SUCCESS, RESPONSE.to_vec()));
        drop(context);
        server.join().unwrap();
    }
}
