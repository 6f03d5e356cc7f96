// SPDX-License-Identifier: BSD-2-Clause
//! Forked children go on with their parent's objects, over their own connections.

use std::time::Duration;

use rusttcti::{Context, ErrorKind, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::swtpm::Swtpm;

use crate::tpm::{NULL, User, open};

/// Runs `child` in a forked child, and returns what it returns, 0 for success.
pub fn in_child(child: impl FnOnce() -> i32) -> i32 {
    ended(forked(child))
}

/// Waits for the end of a child.
pub fn ended(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "status {status:x}");
    libc::WEXITSTATUS(status)
}

/// Starts `child` in a forked child.
pub fn forked(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls what these tests are about, and glibc's malloc, which
    // works after a fork.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork"),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99);
            // SAFETY: it ends here, with nothing of the parent's flushed.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    }
}

fn context(chain: &str) -> User<Context> {
    User(Context::new(open(chain).0))
}

/// Uses the parent's keys, not its session, and a key of the child's own. Returns 0.
pub fn work_in_a_child<T: Tcti>(
    user: &mut User<T>,
    keys: &[u32],
    marks: &[Vec<u8>],
    session: u32,
) -> i32 {
    for (key, mark) in keys.iter().zip(marks) {
        assert_eq!(user.hmac(*key, b"x").as_ref(), Ok(mark));
    }
    assert_eq!(
        user.policy_digest(session),
        Err(0x910),
        "it is the parent's"
    );
    let own = user.create_primary(NULL, 77).expect("a key");
    user.hmac(own, b"x").expect("it works");
    0
}

#[test]
fn children_and_their_children_go_on_with_the_parent_s_objects() {
    let swtpm = Swtpm::tcp();
    for share in [0, 1] {
        let mut user = context(&format!("rm,fork=1,share={share}:swtpm:{}", swtpm.conf()));
        let keys = user.make_keys(NULL, 0..6);
        let marks = user.marks(&keys);
        let session = user.start_session(1).expect("a session");
        let worker = |user: &mut User<Context>| work_in_a_child(user, &keys, &marks, session);
        // Does as Apache does: opens, detaches by a fork, and forks its workers.
        let code = in_child(|| {
            let first = in_child(|| worker(&mut user));
            let second = in_child(|| worker(&mut user));
            first + second + worker(&mut user)
        });
        assert_eq!(code, 0, "share={share}");
        for (key, mark) in keys.iter().zip(&marks) {
            assert_eq!(user.hmac(*key, b"x").as_ref(), Ok(mark), "share={share}");
        }
        user.policy_digest(session)
            .expect("it lives on in the parent");
    }
}

#[test]
fn a_child_begins_without_a_command_whatever_its_parent_awaits() {
    let swtpm = Swtpm::unix();
    for chain in [
        format!("swtpm:{}", swtpm.conf()),
        format!("rm,fork=1:swtpm:{}", swtpm.conf()),
    ] {
        let mut user = context(&chain);
        let get_random = get_random(8);
        user.0.transmit(&get_random).expect("it is sent");
        let child = forked(|| {
            let early = user
                .0
                .receive(&mut [0; 4096], None)
                .expect_err("nothing was sent");
            assert_eq!(early.kind(), ErrorKind::BadSequence, "{}", early.report());
            user.get_random().expect("a response of its own");
            0
        });
        let length = user.0.receive(&mut [0; 4096], Some(Duration::from_secs(9)));
        assert_eq!(length.expect("the parent's"), 20, "{chain}");
        assert_eq!(ended(child), 0, "{chain}");
    }
}

#[test]
fn what_cannot_connect_anew_refuses_in_words() {
    let swtpm = Swtpm::tcp();
    for (chain, words) in [
        (format!("rm:swtpm:{}", swtpm.conf()), "rm,fork=1:"),
        (
            format!("rm,fork=1:swtpm:{},persistent=1", swtpm.conf()),
            "persistent=1",
        ),
        ("rm,fork=1:libtpms".to_owned(), "opened before fork()"),
        ("libtpms".to_owned(), "opened before fork()"),
    ] {
        let mut user = context(&chain);
        user.get_random().expect("a response");
        let code = in_child(|| {
            for _ in 0..2 {
                let error = user.try_run(&get_random(8));
                let error = error.expect_err("it is the parent's");
                assert_eq!(error.kind(), ErrorKind::BadContext);
                assert!(error.report().contains(words), "{}", error.report());
            }
            0
        });
        assert_eq!(code, 0, "{chain}");
        user.get_random().expect("the parent goes on");
    }
}
