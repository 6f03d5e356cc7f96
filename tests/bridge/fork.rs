// SPDX-License-Identifier: BSD-2-Clause
//! After fork(2), a context belongs to the parent.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rusttcti::Context;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::vtable::{Vtable, rc};

/// A pipe to which the transport writes one byte for every call that reaches it:
/// 'p' in the process that made it, 'c' in any other.
struct Witness {
    read: OwnedFd,
    write: OwnedFd,
}

impl Witness {
    fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: two descriptors are written, and belong to nobody else.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            Self {
                read: OwnedFd::from_raw_fd(ends[0]),
                write: OwnedFd::from_raw_fd(ends[1]),
            }
        }
    }

    /// Returns all that was written, once every writer has closed.
    fn read(self) -> String {
        drop(self.write);
        let mut text = String::new();
        std::fs::File::from(self.read)
            .read_to_string(&mut text)
            .expect("text");
        text
    }
}

fn testify(fd: RawFd, parent: u32) {
    let letter: &[u8; 1] = if std::process::id() == parent {
        b"p"
    } else {
        b"c"
    };
    // SAFETY: one byte from one byte.
    assert_eq!(unsafe { libc::write(fd, letter.as_ptr().cast(), 1) }, 1);
}

fn witnessed(witness: &Witness) -> Context<Scripted> {
    let (fd, parent) = (witness.write.as_raw_fd(), std::process::id());
    Context::new(Scripted {
        transmit: Box::new(move |_| {
            testify(fd, parent);
            Ok(())
        }),
        receive: Box::new(move |response, _| {
            testify(fd, parent);
            put(response, &answer(28))
        }),
        finalize: Box::new(move |()| {
            testify(fd, parent);
            Ok(())
        }),
        ..Scripted::default()
    })
}

/// Runs `child` in a forked child, which ends by exit(3) with what it returns.
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child makes only the calls that these tests are about, and
    // glibc's malloc, which they use, works after fork.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork"),
        0 => {
            let code = child();
            // SAFETY: handlers run as at any exit: that is part of the promise.
            unsafe { libc::exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "status {status:x}");
            libc::WEXITSTATUS(status)
        }
    }
}

/// Returns the number of the first call that does not return BAD_CONTEXT; 0 if all
/// do.
fn calls_that_are_not_refused(c: Vtable) -> i32 {
    let calls = [
        c.transmit(&get_random(16)),
        c.receive(-1).0,
        c.response_size().0,
        c.cancel(),
        c.poll_handles(1).0,
        c.set_locality(0),
        c.make_sticky(&mut 1, 1),
        c.transmit_raw(0, std::ptr::null()),
    ];
    calls
        .iter()
        .position(|code| *code != rc::BAD_CONTEXT)
        .map_or(0, |at| at as i32 + 1)
}

#[test]
fn a_child_is_refused_in_every_state_and_the_parent_goes_on() {
    for state in ["transmit", "receive", "kept", "final"] {
        let witness = Witness::new();
        let context = witnessed(&witness);
        let c = Vtable(context.as_ptr());
        if state != "transmit" {
            assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
        }
        if state == "kept" {
            assert_eq!(c.receive_into(&mut [0; 10], -1).0, rc::INSUFFICIENT_BUFFER);
        }
        if state == "final" {
            c.finalize();
        }

        let refused = in_child(|| {
            let first = calls_that_are_not_refused(c);
            c.finalize();
            let second = calls_that_are_not_refused(c);
            // SAFETY: the child exits without using or dropping its original.
            drop(unsafe { std::ptr::read(&context) });
            first * 16 + second
        });
        assert_eq!(refused, 0, "{state}");

        match state {
            "transmit" => assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS),
            "final" => assert_eq!(c.transmit(&get_random(16)), rc::BAD_SEQUENCE),
            _ => {}
        }
        if state != "final" {
            assert_eq!(c.receive(-1), (rc::SUCCESS, answer(28)), "{state}");
            c.finalize();
        }
        // The parent's calls: transmit, receive (unless final), finalize.
        let parents = if state == "final" { "pp" } else { "ppp" };
        assert_eq!(witness.read(), parents, "{state}");
    }
}

#[test]
fn a_child_learns_why() {
    let context = Context::new(Scripted::default());
    let c = Vtable(context.as_ptr());
    let told = in_child(|| {
        // SAFETY: the context is there; it is only asked.
        let mut native = unsafe { rusttcti::Native::from_raw(c.0) }.expect("a context");
        let error = rusttcti::Tcti::transmit(&mut native, &get_random(1)).expect_err("refused");
        i32::from(!error.to_string().contains("before fork()"))
    });
    assert_eq!(told, 0);
    let mut context = context;
    let told = in_child(|| {
        use rusttcti::Tcti;
        let refused = [
            context.transmit(&get_random(1)),
            context.receive(&mut [0; 10], None).map(|_| ()),
            context.poll_handles().map(|_| ()),
            context.set_locality(0),
            context.make_sticky(0, true).map(|_| ()),
            context.reset(),
            context.finalize(),
        ];
        let why = |error: rusttcti::Error| error.to_string().contains("before fork()");
        let all = refused.into_iter().all(|it| it.is_err_and(why));
        i32::from(!all || context.canceller().is_some())
    });
    assert_eq!(told, 0);
    drop(context);
}

#[test]
fn a_child_opens_contexts_of_its_own_and_so_does_its_child() {
    fn opens_one() -> i32 {
        let context = Context::new(Scripted::default());
        let c = Vtable(context.as_ptr());
        let sent = c.transmit(&get_random(16));
        i32::from(sent != rc::SUCCESS || c.receive(-1) != (rc::SUCCESS, answer(28)))
    }
    let _parents = Context::new(Scripted::default());
    let failed = in_child(|| {
        let childs = Context::new(Scripted::default());
        let grandchild = in_child(|| {
            let refused = calls_that_are_not_refused(Vtable(childs.as_ptr()));
            opens_one() + 2 * i32::from(refused != 0)
        });
        opens_one() * 4 + grandchild
    });
    assert_eq!(failed, 0);
}

#[test]
fn a_fork_while_another_thread_is_in_a_call_is_no_trap_for_the_child() {
    let (waiting, is_waiting) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let context = Context::new(Scripted {
        receive: Box::new(move |response, _| {
            waiting.send(()).expect("the test listens");
            gone.recv().expect("the test says go");
            put(response, &answer(28))
        }),
        ..Scripted::default()
    });
    let c = Vtable(context.as_ptr());
    assert_eq!(c.transmit(&get_random(16)), rc::SUCCESS);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || c.receive(-1));
        is_waiting.recv().expect("it waits");
        let refused = in_child(|| {
            let first = calls_that_are_not_refused(c);
            c.finalize();
            first
        });
        assert_eq!(refused, 0);
        go.send(()).expect("it waits");
        assert_eq!(receiver.join().unwrap(), (rc::SUCCESS, answer(28)));
    });
}
