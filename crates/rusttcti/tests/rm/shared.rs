// SPDX-License-Identifier: BSD-2-Clause
//! Several programs on one swtpm, also when it is restarted or programs are killed.

use std::time::{Duration, Instant};

use rusttcti::Tcti;
use rusttcti_kit::swtpm::Swtpm;

use crate::fork::{ended, forked};
use crate::tpm::{NULL, User, open};

/// The first handle of the list of saved sessions.
const SAVED_SESSIONS: u32 = 0x0300_0000;

/// Makes six keys and a session, and uses them until `until` says so.
fn work<T: Tcti>(user: &mut User<T>, from: u8, mut until: impl FnMut() -> bool) {
    let keys = user.make_keys(NULL, from..from + 6);
    let marks = user.marks(&keys);
    let session = user.start_session(1).expect("a session");
    user.mark(session, from).expect("it is there");
    let digest = user.policy_digest(session).expect("a digest");
    let mut round = 0;
    while !until() {
        let at = round * 5 % keys.len();
        assert_eq!(
            user.hmac(keys[at], b"x").as_ref(),
            Ok(&marks[at]),
            "round {round}"
        );
        if round % 4 == 0 {
            assert_eq!(
                user.policy_digest(session).as_ref(),
                Ok(&digest),
                "round {round}"
            );
        }
        round += 1;
    }
}

fn rounds(count: usize) -> impl FnMut() -> bool {
    let mut left = count;
    move || {
        left = left.saturating_sub(1);
        left == 0
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: a child of this test's.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn processes_on_one_swtpm_each_get_their_own_answers() {
    let swtpm = Swtpm::unix();
    let chain = format!("rm:swtpm:{}", swtpm.conf());
    let children: Vec<_> = (0..3u8)
        .map(|n| {
            forked(|| {
                work(&mut open(&chain), n * 10, rounds(150));
                0
            })
        })
        .collect();
    for child in children {
        assert_eq!(ended(child), 0);
    }
    let mut bare = open(&format!("swtpm:{}", swtpm.conf()));
    assert_eq!(bare.handles(0x8000_0000, 9).0, [], "nothing stays loaded");
    assert_eq!(bare.handles(0x0200_0000, 9).0, []);
    assert_eq!(bare.handles(0x0300_0000, 9).0, []);
}

#[test]
fn a_process_that_is_killed_leaves_the_others_working() {
    let swtpm = Swtpm::unix();
    let chain = format!("rm:swtpm:{}", swtpm.conf());
    for round in 0..8u64 {
        let victim = forked(|| {
            work(&mut open(&chain), 100, || false);
            0
        });
        std::thread::sleep(Duration::from_millis(20 + 3 * round));
        kill(victim, libc::SIGKILL);
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(victim, &mut status, 0) }, victim);
        work(&mut open(&chain), 10, rounds(30));
    }
}

#[test]
fn the_sessions_of_a_killed_process_do_not_use_up_the_tpm_s() {
    let swtpm = Swtpm::unix();
    let chain = format!("rm:swtpm:{}", swtpm.conf());
    let mut other = open(&chain);
    let session = other.start_session(1).expect("a session");
    for round in 0..5 {
        let victim = forked(|| {
            let mut user = open(&chain);
            for _ in 0..20 {
                user.start_session(0).expect("a session");
            }
            kill(std::process::id() as i32, libc::SIGKILL);
            0
        });
        let mut status = 0;
        // SAFETY: our own child.
        assert_eq!(unsafe { libc::waitpid(victim, &mut status, 0) }, victim);
        assert_eq!(status, libc::SIGKILL, "round {round}");
    }
    // The next process that opens the TPM flushes what they left.
    ended(forked(|| {
        drop(open(&chain));
        0
    }));
    let saved = open(&format!("swtpm:{}", swtpm.conf())).handles(SAVED_SESSIONS, 254);
    let numbers: Vec<_> = saved.0.iter().map(|handle| handle & 0xff_ffff).collect();
    assert_eq!(numbers, [session & 0xff_ffff]);
    other.policy_digest(session).expect("it is there");
}

#[test]
fn swtpm_may_be_stopped_at_any_time() {
    let swtpm = Swtpm::unix();
    let chain = format!("rm:swtpm:{}", swtpm.conf());
    let worker = forked(|| {
        work(&mut open(&chain), 0, rounds(400));
        0
    });
    for _ in 0..10 {
        swtpm.pause();
        std::thread::sleep(Duration::from_millis(15));
        swtpm.resume();
        std::thread::sleep(Duration::from_millis(7));
    }
    assert_eq!(ended(worker), 0);
}

#[test]
fn a_receive_that_runs_out_of_time_while_swtpm_is_stopped_loses_nothing() {
    let swtpm = Swtpm::unix();
    for share in [0, 1] {
        let mut user = open(&format!("rm,share={share}:swtpm:{}", swtpm.conf()));
        let keys = user.make_keys(NULL, 0..5);
        let marks = user.marks(&keys);
        for round in 0..10 {
            let at = round % keys.len();
            swtpm.pause();
            user.0
                .transmit(&crate::tpm::hmac(keys[at], b"x"))
                .expect("it is sent");
            let mut response = [0; 4096];
            let start = Instant::now();
            let early = user
                .0
                .receive(&mut response, Some(Duration::from_millis(10)));
            assert_eq!(
                early.expect_err("it is stopped").kind(),
                rusttcti::ErrorKind::TryAgain
            );
            assert!(start.elapsed() < Duration::from_secs(2));
            swtpm.resume();
            let length = loop {
                match user.0.receive(&mut response, Some(Duration::ZERO)) {
                    Ok(length) => break length,
                    Err(error) => assert_eq!(error.kind(), rusttcti::ErrorKind::TryAgain),
                }
                assert!(start.elapsed() < Duration::from_secs(20), "no response");
            };
            assert_eq!(response[16..48], marks[at], "share={share}, {length} bytes");
        }
    }
}

#[test]
fn poll_handles_wake_a_loop_whatever_the_command_waits_for() {
    let swtpm = Swtpm::unix();
    for chain in [
        format!("rm:swtpm:{}", swtpm.conf()),
        format!("rm,share=0:swtpm:{}", swtpm.conf()),
        "rm:libtpms".to_owned(),
    ] {
        let mut user = open(&chain);
        let keys = user.make_keys(NULL, 0..5);
        let handles = user.0.poll_handles().expect("a handle");
        for key in keys.iter().cycle().take(40) {
            user.0
                .transmit(&crate::tpm::hmac(*key, b"x"))
                .expect("it is sent");
            let mut response = [0; 4096];
            loop {
                let mut fds = [libc::pollfd {
                    fd: handles[0].fd,
                    events: handles[0].events,
                    revents: 0,
                }];
                // SAFETY: one descriptor in one place.
                let ready = unsafe { libc::poll(fds.as_mut_ptr(), 1, 5000) };
                assert_eq!(ready, 1, "{chain}: nothing wakes the loop");
                match user.0.receive(&mut response, Some(Duration::ZERO)) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.kind(), rusttcti::ErrorKind::TryAgain),
                }
            }
        }
    }
}

#[test]
fn a_restarted_swtpm_has_nothing_of_before_and_new_objects_work() {
    for share in [0, 1] {
        let mut swtpm = Swtpm::unix();
        let mut user = open(&format!("rm,share={share}:swtpm:{}", swtpm.conf()));
        let keys = user.make_keys(NULL, 0..6);
        let session = user.start_session(1).expect("a session");
        swtpm.stop();
        swtpm.start();
        // The first command may find out that the TPM was not started.
        let _ = user.startup();
        assert_eq!(user.handles(0x8000_0000, 99).0, [], "share={share}");
        for key in &keys {
            assert_eq!(user.hmac(*key, b"x"), Err(0x910), "share={share}");
        }
        assert_eq!(user.policy_digest(session), Err(0x910), "share={share}");
        let fresh = user.make_keys(NULL, 0..6);
        for key in &fresh {
            assert!(!keys.contains(key));
            user.hmac(*key, b"x").expect("it works");
        }
        assert_eq!(user.handles(0x8000_0000, 99).0, fresh);
    }
}

#[test]
fn what_is_made_after_a_restart_outlives_the_news_of_it() {
    for share in [0, 1] {
        let mut swtpm = Swtpm::unix();
        let conf = swtpm.conf();
        let mut user = open(&format!("rm,share={share}:swtpm:{conf}"));
        let keys = user.make_keys(NULL, 0..5);
        user.start_session(1).expect("a session");
        swtpm.stop();
        swtpm.start();
        let _ = open(&format!("swtpm:{conf}")).startup();
        // No list was asked for yet, which is when the layer reads the TPM's clock.
        let fresh = user.make_keys(NULL, 0..5);
        let session = user.start_session(1).expect("a session");
        assert_eq!(
            user.handles(0x8000_0000, 99).0,
            fresh,
            "share={share}, {keys:x?}"
        );
        user.marks(&fresh);
        assert_eq!(user.handles(0x0200_0000, 99).0.len(), 1, "share={share}");
        user.policy_digest(session).expect("it works");
        for key in &keys {
            assert_eq!(user.hmac(*key, b"x"), Err(0x910), "share={share}");
        }
    }
}

#[test]
fn seventy_thousand_uses_of_a_session_leave_an_idle_one_usable() {
    for (chain, others) in [("rm,share=1:libtpms", 1), ("rm:libtpms", 4)] {
        let mut user = open(chain);
        let idle = user.start_session(1).expect("a session");
        user.mark(idle, 7).expect("it is there");
        let digest = user.policy_digest(idle).expect("a digest");
        let saved = user.start_session(1).expect("a session");
        user.mark(saved, 8).expect("it is there");
        let context = user.save(saved).expect("a context");
        let busy: Vec<_> = (0..others)
            .map(|_| user.start_session(1).expect("a session"))
            .collect();
        for round in 0..70_000 {
            user.policy_digest(busy[round % busy.len()])
                .expect("it is there");
        }
        assert_eq!(user.policy_digest(idle), Ok(digest), "{chain}");
        assert_eq!(user.load(&context), Ok(saved), "{chain}");
        user.policy_digest(saved).expect("it is there");
    }
}

#[test]
fn a_session_saved_by_one_program_loads_in_another() {
    let swtpm = Swtpm::unix();
    for share in [0, 1] {
        let chain = format!("rm,share={share}:swtpm:{}", swtpm.conf());
        let mut first = open(&chain);
        let session = first.start_session(1).expect("a session");
        first.mark(session, 9).expect("it is there");
        let digest = first.policy_digest(session).expect("a digest");
        let context = first.save(session).expect("a context");
        drop(first);
        let child = forked(|| {
            let mut second = open(&chain);
            assert_eq!(second.load(&context), Ok(session));
            assert_eq!(second.policy_digest(session), Ok(digest.clone()));
            0
        });
        assert_eq!(ended(child), 0, "share={share}");
    }
}

#[test]
fn a_sticky_object_outlives_its_program_and_becomes_ordinary_again() {
    let swtpm = Swtpm::unix();
    for share in [0, 1] {
        let chain = format!("rm,share={share}:swtpm:{}", swtpm.conf());
        let mut user = open(&chain);
        let keys = user.make_keys(NULL, 0..5);
        let mark = user.hmac(keys[0], b"x").expect("it works");
        let real = user.0.make_sticky(keys[0], true).expect("a real handle");
        assert!(real < 0x8000_0010, "{real:x}");
        assert_eq!(user.hmac(real, b"x").as_ref(), Ok(&mark));
        assert_eq!(user.hmac(keys[0], b"x"), Err(0x910));
        drop(user);
        let mut bare = open(&format!("swtpm:{}", swtpm.conf()));
        assert_eq!(bare.handles(0x8000_0000, 9).0, [real], "share={share}");
        assert_eq!(bare.hmac(real, b"x").as_ref(), Ok(&mark));
        let mut next = open(&chain);
        assert_eq!(
            next.hmac(real, b"x").as_ref(),
            Ok(&mark),
            "a leftover keeps its handle"
        );
        let own = next.0.make_sticky(real, false).expect("a virtual handle");
        assert_eq!(next.hmac(own, b"x").as_ref(), Ok(&mark));
        drop(next);
        assert_eq!(bare.handles(0x8000_0000, 9).0, [], "share={share}");
    }
}

#[test]
fn leftovers_are_kept_or_flushed() {
    let swtpm = Swtpm::unix();
    let mut bare = open(&format!("swtpm:{}", swtpm.conf()));
    let left = bare.create_primary(NULL, 1).expect("a key");
    for share in [0, 1] {
        let mut user = open(&format!("rm,share={share}:swtpm:{}", swtpm.conf()));
        assert_eq!(user.handles(0x8000_0000, 9).0, [left]);
        work(&mut user, 50, rounds(20));
        drop(user);
        bare.hmac(left, b"x").expect("it is left alone");
    }
    drop(open(&format!("rm,leftovers=flush:swtpm:{}", swtpm.conf())));
    assert_eq!(bare.handles(0x8000_0000, 9).0, []);
}
