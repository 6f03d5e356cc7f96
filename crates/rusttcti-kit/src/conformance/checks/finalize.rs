// SPDX-License-Identifier: BSD-2-Clause
//! The end of a context.

use super::support::{checks, exchange, send, send_slow, unchanged};
use crate::commands::get_random;
use crate::conformance::{Subject, Verdict, ensure};
use crate::proc;
use crate::vtable::rc;

checks! {
    "finalize-twice": "finalize may be called twice." => twice,
    "calls-after-finalize": "A call after finalize is refused, and does not crash." => calls_after,
    "finalize-while-awaited": "finalize while a response is awaited ends the context, and the next one works." => while_awaited,
    "finalize-leaves-no-descriptor": "finalize closes every descriptor that the context opened." => leaves_no_descriptor,
    "finalize-leaves-no-thread": "finalize ends every thread that the context started." => leaves_no_thread,
    "finalize-leaves-no-child": "finalize waits for every process that the context started." => leaves_no_child,
    "two-hundred-contexts": "Two hundred contexts, one after the other, leave less than a kilobyte each on the heap." => two_hundred,
}

fn twice(subject: &Subject) -> Verdict {
    let mut opened = subject.open()?;
    exchange(opened.c, 4)?;
    opened.finalize();
    opened.finalize();
    Ok(())
}

fn calls_after(subject: &Subject) -> Verdict {
    let mut opened = subject.open()?;
    exchange(opened.c, 4)?;
    opened.finalize();
    // The functions of a module that clears them cannot be called any more.
    let Some(transmit) = opened.c.common().v1.transmit else {
        return Ok(());
    };
    let command = get_random(4);
    // SAFETY: the memory is still there, as the caller must ensure.
    let code = unsafe { transmit(opened.c.0, command.len() as _, command.as_ptr()) };
    ensure!(code != rc::SUCCESS, "transmit succeeds");
    ensure!(opened.c.receive(0).0 != rc::SUCCESS, "receive succeeds");
    Ok(())
}

fn while_awaited(subject: &Subject) -> Verdict {
    let mut opened = subject.open()?;
    send_slow(opened.c)?;
    opened.finalize();
    drop(opened);
    let opened = subject.open()?;
    send(opened.c, 4)?;
    super::support::receive(opened.c, 4)
}

fn leaves_no_descriptor(subject: &Subject) -> Verdict {
    // The memory that the first context leaves, a library that stays loaded, is not
    // counted.
    drop(subject.open()?);
    let before = proc::fds();
    for _ in 0..5 {
        let opened = subject.open()?;
        exchange(opened.c, 4)?;
    }
    unchanged(&(before, 0), &(proc::fds(), 0))
}

fn leaves_no_thread(subject: &Subject) -> Verdict {
    let before = proc::threads();
    for _ in 0..5 {
        let opened = subject.open()?;
        exchange(opened.c, 4)?;
    }
    let after = proc::threads();
    ensure!(before == after, "{before} threads before, {after} after");
    Ok(())
}

fn leaves_no_child(subject: &Subject) -> Verdict {
    let before = proc::children();
    for _ in 0..5 {
        let opened = subject.open()?;
        exchange(opened.c, 4)?;
    }
    let after = proc::children();
    ensure!(
        before == after,
        "child processes before {before:?}, after {after:?}"
    );
    Ok(())
}

/// Returns how many bytes malloc has given out.
fn allocated() -> usize {
    // SAFETY: no arguments; it reads malloc's statistics.
    unsafe { libc::mallinfo2() }.uordblks
}

fn two_hundred(subject: &Subject) -> Verdict {
    let rounds = |count| -> Verdict {
        for _ in 0..count {
            let opened = subject.open()?;
            exchange(opened.c, 4)?;
        }
        Ok(())
    };
    rounds(20)?;
    let before = allocated();
    rounds(200)?;
    // Libraries below keep memory for later use, up to a bound of their own.
    let grown = allocated().saturating_sub(before);
    ensure!(
        grown < 200 * 1024,
        "the heap grew by {grown} bytes in 200 contexts"
    );
    Ok(())
}
