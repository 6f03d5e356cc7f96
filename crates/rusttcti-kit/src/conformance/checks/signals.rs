// SPDX-License-Identifier: BSD-2-Clause
//! Signals, which belong to the program.

use std::mem::MaybeUninit;
use std::ptr;

use super::support::{checks, exchange, expect, finish_slow, flush, receive, send, send_slow};
use crate::conformance::{Subject, Verdict, ensure};
use crate::signals::Alarms;
use crate::vtable::rc;

checks! {
    "signals-end-no-receive": "A signal every millisecond ends no receive early." => end_no_receive,
    "signals-lose-no-command": "Two hundred commands each get their response despite a signal every millisecond." => lose_no_command,
    "dispositions-are-kept": "No signal's disposition is changed." => dispositions_are_kept,
    "the-signal-mask-is-kept": "The thread's signal mask is the same after each call." => mask_is_kept,
    "no-sigpipe": "SIGPIPE is not raised while a context is used." => no_sigpipe,
}

fn end_no_receive(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let _alarms = Alarms::on_this_thread();
    for _ in 0..3 {
        send_slow(opened.c)?;
        let (code, response) = opened.c.receive(-1);
        expect("receive(-1)", code, rc::SUCCESS)?;
        flush(opened.c, &response)?;
    }
    Ok(())
}

fn lose_no_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let _alarms = Alarms::on_this_thread();
    for round in 0..200 {
        exchange(opened.c, 1 + round % 32)?;
    }
    Ok(())
}

fn dispositions() -> Vec<usize> {
    let disposition = |signal| {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: NULL changes nothing; the struct is filled in, or stays zero.
        unsafe {
            libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
            action.assume_init().sa_sigaction
        }
    };
    (1..32).map(disposition).collect()
}

fn dispositions_are_kept(subject: &Subject) -> Verdict {
    let before = dispositions();
    let opened = subject.open()?;
    exchange(opened.c, 4)?;
    drop(opened);
    ensure!(
        before == dispositions(),
        "before {before:?}, after {:?}",
        dispositions()
    );
    Ok(())
}

fn mask() -> Vec<bool> {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: NULL changes nothing; the set is filled in.
    let set = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
        set.assume_init()
    };
    // SAFETY: a set that was filled in.
    (1..32)
        .map(|signal| unsafe { libc::sigismember(&set, signal) } == 1)
        .collect()
}

fn mask_is_kept(subject: &Subject) -> Verdict {
    let before = mask();
    let opened = subject.open()?;
    ensure!(before == mask(), "Init changes it");
    send(opened.c, 4)?;
    ensure!(before == mask(), "transmit changes it");
    receive(opened.c, 4)?;
    ensure!(before == mask(), "receive changes it");
    drop(opened);
    ensure!(before == mask(), "finalize changes it");
    Ok(())
}

fn no_sigpipe(subject: &Subject) -> Verdict {
    // As in a C program; Rust's startup ignores it. The signal would end this process.
    // SAFETY: the default disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let opened = subject.open()?;
    exchange(opened.c, 4)?;
    send_slow(opened.c)?;
    finish_slow(opened.c)
}
