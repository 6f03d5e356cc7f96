// SPDX-License-Identifier: BSD-2-Clause
//! One swtpm with many users: processes with one connection for each command, and
//! contexts of one process that share a connection.

use std::os::fd::BorrowedFd;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rusttcti::wire::CommandCode;
use rusttcti::{Context, Tcti, open};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::hostile::{RESPONSE, Reaction, Route};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::{Vtable, rc};
use rusttcti_kit::{again, module};

fn context(conf: &str) -> Context<Box<dyn Tcti>> {
    Context::new(open(&format!("swtpm:{conf}")).expect("swtpm is there"))
}

fn execute(tcti: Vtable, command: &[u8]) -> Vec<u8> {
    assert_eq!(tcti.transmit(command), rc::SUCCESS);
    let (code, response) = tcti.receive(-1);
    assert_eq!(code, rc::SUCCESS);
    assert_eq!(response_code(&response), 0);
    response
}

/// Returns a TPM2_Hash of SHA-256 whose data depends on `who`, and the digest.
fn hash(who: u32) -> Vec<u8> {
    let mut parameters = vec![0, 4];
    parameters.extend_from_slice(&who.to_be_bytes());
    parameters.extend_from_slice(&[0, 0x0b, 0x40, 0, 0, 0x07]);
    command(CommandCode::HASH, &parameters)
}

#[test]
fn processes_share_a_swtpm_by_default() {
    for swtpm in [Swtpm::tcp(), Swtpm::unix()] {
        // One with a context that is open all the time, and others.
        let mine = context(&swtpm.conf());
        thread::scope(|scope| {
            for who in 0..4 {
                let mut other = again::only!("one_of_many_processes");
                other
                    .env("RUSTTCTI_TEST_CONF", swtpm.conf())
                    .env("RUSTTCTI_TEST_WHO", who.to_string());
                scope.spawn(move || again::played(&mut other));
            }
            let expected = execute(Vtable(mine.as_ptr()), &hash(100));
            for _ in 0..100 {
                assert_eq!(execute(Vtable(mine.as_ptr()), &hash(100)), expected);
            }
        });
    }
}

#[test]
#[ignore = "a part of processes_share_a_swtpm_by_default"]
fn one_of_many_processes() {
    let conf = std::env::var("RUSTTCTI_TEST_CONF").expect("a configuration");
    let who: u32 = std::env::var("RUSTTCTI_TEST_WHO")
        .expect("a number")
        .parse()
        .unwrap();
    let mine = context(&conf);
    let expected = execute(Vtable(mine.as_ptr()), &hash(who));
    for _ in 0..100 {
        assert_eq!(execute(Vtable(mine.as_ptr()), &hash(who)), expected);
    }
}

#[test]
fn threads_share_a_swtpm_in_every_mode() {
    for swtpm in [Swtpm::tcp(), Swtpm::unix()] {
        for persistent in ["", ",persistent=1"] {
            let conf = swtpm.conf() + persistent;
            let barrier = Barrier::new(4);
            std::thread::scope(|scope| {
                for who in 0..4 {
                    let (conf, barrier) = (&conf, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let mine = context(conf);
                        let tcti = Vtable(mine.as_ptr());
                        let expected = execute(tcti, &hash(who));
                        for _ in 0..100 {
                            // No response goes to the wrong context.
                            assert_eq!(execute(tcti, &hash(who)), expected, "{conf}");
                        }
                    });
                }
            });
        }
    }
}

/// Returns the longest time from a command to its response, while sixteen threads
/// send commands, each over its own context.
fn slowest_in_a_crowd(conf: &str) -> Duration {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let context = context(conf);
                    let until = Instant::now() + Duration::from_secs(3);
                    let mut slowest = Duration::ZERO;
                    while Instant::now() < until {
                        let tcti = Vtable(context.as_ptr());
                        assert_eq!(tcti.transmit(&get_random(2)), rc::SUCCESS);
                        let began = Instant::now();
                        assert_eq!(tcti.receive(-1).0, rc::SUCCESS);
                        slowest = slowest.max(began.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        let threads = threads.into_iter().map(|thread| thread.join().unwrap());
        threads.max().expect("some")
    })
}

/// It sends again after 0.2 s, 0.6 s, 1.4 s, 3 s and so on, until it meets a
/// free place in the backlog. On a machine that stalls by itself,
/// one quiet run is enough.
#[test]
fn no_client_in_a_crowd_waits_for_the_kernel_to_send_its_command_again() {
    let swtpm = Swtpm::tcp();
    let runs: Vec<_> = std::iter::repeat_with(|| slowest_in_a_crowd(&swtpm.conf()))
        .take(4)
        .inspect(|slowest| println!("{slowest:?}"))
        .take_while(|slowest| *slowest > Duration::from_millis(600))
        .collect();
    assert!(runs.len() < 4, "{runs:?}");
}

/// Returns the address of a context's connection as the peer sees it. Contexts that
/// share a connection have the same one.
fn connection(context: &Context<Box<dyn Tcti>>) -> i32 {
    Vtable(context.as_ptr()).poll_handles(1).2[0].fd
}

#[test]
fn contexts_of_a_process_share_a_persistent_connection() {
    let swtpm = Swtpm::tcp();
    let conf = swtpm.conf() + ",persistent=1";
    let first = context(&conf);
    let fd = connection(&first);
    let second = context(&conf);
    assert_eq!(connection(&second), fd);
    execute(Vtable(second.as_ptr()), &hash(2));
    drop(first);
    // It lasts as long as one of them does.
    assert_eq!(connection(&second), fd);
    execute(Vtable(second.as_ptr()), &hash(2));
    drop(second);
    // SAFETY: it is only asked about, and no descriptor was opened since.
    let gone = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) });
    assert_eq!(gone, Err(rustix::io::Errno::BADF));
    // No client is kept out any more.
    execute(Vtable(context(&swtpm.conf()).as_ptr()), &hash(3));
}

#[test]
fn a_persistent_connection_keeps_others_waiting_until_it_is_closed() {
    let swtpm = Swtpm::tcp();
    let kept = context(&(swtpm.conf() + ",persistent=1"));
    let other = context(&swtpm.conf());
    let tcti = Vtable(other.as_ptr());
    assert_eq!(tcti.transmit(&hash(1)), rc::SUCCESS);
    assert_eq!(tcti.receive(100).0, rc::TRY_AGAIN);
    execute(Vtable(kept.as_ptr()), &hash(2));
    assert_eq!(tcti.receive(0).0, rc::TRY_AGAIN);
    drop(kept);
    assert_eq!(tcti.receive(-1).0, rc::SUCCESS);
}

const SHARED: Route = Route {
    transport: "swtpm",
    tcp: true,
    persistent: true,
};

#[test]
fn a_context_waits_for_another_s_response_and_says_so_in_time() {
    let (go, wait) = channel();
    let peer = SHARED.peer(vec![Reaction::SendInTwo(vec![], wait, RESPONSE.into())]);
    let (first, second) = (SHARED.open(&peer), SHARED.open(&peer));
    let (first, second) = (Vtable(first.as_ptr()), Vtable(second.as_ptr()));
    assert_eq!(first.transmit(&get_random(1)), rc::SUCCESS);
    let began = Instant::now();
    assert_eq!(second.transmit(&get_random(2)), rc::TRY_AGAIN);
    assert!((Duration::from_secs(4)..PATIENCE).contains(&began.elapsed()));
    // A wait that is not in vain.
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            assert_eq!(second.transmit(&get_random(2)), rc::SUCCESS);
            second.receive(-1)
        });
        go.send(()).unwrap();
        assert_eq!(first.receive(-1), (rc::SUCCESS, RESPONSE.to_vec()));
        assert_eq!(waits.join().unwrap(), (rc::SUCCESS, RESPONSE.to_vec()));
    });
}

#[test]
fn a_response_that_nobody_fetched_goes_to_nobody_else() {
    let (closed, is_closed) = channel();
    let (go, wait) = channel();
    let wrong = [&RESPONSE[..10], &[0xee, 0xee]].concat();
    let peer = SHARED.peer(vec![
        Reaction::SendInTwo(vec![], wait, wrong.clone()),
        Reaction::Answer,
        Reaction::Silence(closed),
    ]);
    let (first, second) = (SHARED.open(&peer), SHARED.open(&peer));
    assert_eq!(Vtable(first.as_ptr()).transmit(&get_random(1)), rc::SUCCESS);
    go.send(()).unwrap();
    // Finalized with its response outstanding, or already there.
    drop(first);
    let tcti = Vtable(second.as_ptr());
    assert_eq!(tcti.transmit(&get_random(2)), rc::SUCCESS);
    assert_eq!(tcti.receive(-1), (rc::SUCCESS, RESPONSE.to_vec()));
    // The last one closes the connection, a command under way or not.
    assert_eq!(tcti.transmit(&get_random(2)), rc::SUCCESS);
    drop(second);
    is_closed.recv_timeout(PATIENCE).expect("closed");
}

#[test]
fn a_child_has_a_connection_of_its_own() {
    let swtpm = Swtpm::tcp();
    let conf = swtpm.conf() + ",persistent=1";
    let mine = context(&conf);
    let expected = execute(Vtable(mine.as_ptr()), &hash(1));
    // SAFETY: this thread is the only one that uses locks of the transport.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = std::panic::catch_unwind(|| {
            let context = context(&conf);
            execute(Vtable(context.as_ptr()), &hash(1))
        });
        let right = own.is_ok_and(|own| own == expected);
        // SAFETY: nothing of the parent's is flushed or ended.
        unsafe { libc::_exit(if right { 0 } else { 1 }) };
    }
    // The parent's is first, and works on.
    for _ in 0..20 {
        assert_eq!(execute(Vtable(mine.as_ptr()), &hash(1)), expected);
    }
    drop(mine);
    // The child's turn: its connection has waited for the parent's to close.
    let mut status = 0;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}

#[test]
fn tpm2_tools_work_over_the_module() {
    let folder = tempfile::tempdir().expect("a folder");
    for swtpm in [Swtpm::tcp(), Swtpm::unix()] {
        for persistent in ["", ",persistent=1"] {
            let tcti = format!("rusttcti:swtpm:{}{persistent}", swtpm.conf());
            let tool = |line: &str| {
                let mut words = line.split(' ');
                let output = module::program(words.next().unwrap())
                    .args(words)
                    .args(["-T", &tcti])
                    .current_dir(&folder)
                    .output()
                    .expect("tpm2-tools run (Debian's package tpm2-tools)");
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{line} over {tcti}: {errors}");
                output.stdout
            };
            assert_eq!(tool("tpm2_getrandom --hex 16").len(), 32);
            // Without a resource manager, what one tool leaves loaded is in
            // the next one's way.
            let flush = || tool("tpm2_flushcontext -t");
            tool("tpm2_createprimary -Q -C o -G ecc -c primary.ctx");
            flush();
            tool("tpm2_create -Q -C primary.ctx -G ecc -u key.pub -r key.priv");
            flush();
            tool("tpm2_load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx");
            flush();
            std::fs::write(folder.path().join("message"), "hello").unwrap();
            tool("tpm2_sign -Q -c key.ctx -g sha256 -o signature message");
            flush();
            tool("tpm2_verifysignature -Q -c key.ctx -g sha256 -s signature -m message");
            flush();
        }
    }
}
