// SPDX-License-Identifier: BSD-2-Clause
//! Descriptors for an event loop.

use std::time::Duration;

use super::support::{LONGEST, checks, exchange, expect, handles, is_random, receive, send, wait};
use crate::conformance::{NotPassed, Subject, Verdict, ensure};
use crate::vtable::rc;

checks! {
    "poll-handles-are-counted": "getPollHandles with a NULL array tells how many there are." => counted,
    "poll-handles-are-open": "Each descriptor is open, and asks for an event." => open,
    "too-small-an-array-of-handles": "Too small an array is TSS2_TCTI_RC_INSUFFICIENT_BUFFER, and nothing behind it is written." => too_small_an_array,
    "poll-shows-the-response": "A descriptor becomes ready when the response is there." => shows_the_response,
    "poll-is-followed-by-progress": "After a descriptor was ready, receive(0) gets the response in the end." => followed_by_progress,
    "poll-handles-before-a-command": "Handles may be asked for before the first command." => before_a_command,
    "an-event-loop-of-many-commands": "Fifty commands in an event loop each get their own response." => event_loop,
}

fn counted(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let found = handles(&opened);
    receive(opened.c, 8)?;
    ensure!(
        !found?.is_empty(),
        "there are none, and no TSS2_TCTI_RC_NOT_IMPLEMENTED"
    );
    Ok(())
}

fn open(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let found = handles(&opened);
    for handle in found? {
        // SAFETY: F_GETFD of any number is harmless.
        let flags = unsafe { libc::fcntl(handle.fd, libc::F_GETFD) };
        ensure!(flags != -1, "descriptor {} is not open", handle.fd);
        ensure!(
            handle.events != 0,
            "descriptor {} asks for no event",
            handle.fd
        );
    }
    receive(opened.c, 8)
}

fn too_small_an_array(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    handles(&opened)?;
    let mut array = [tss_esapi_sys::TSS2_TCTI_POLL_HANDLE {
        fd: -7,
        events: 0,
        revents: 0,
    }; 2];
    let mut count = 0;
    let code = opened.c.poll_handles_raw(array.as_mut_ptr(), &mut count);
    receive(opened.c, 8)?;
    ensure!(
        array.iter().all(|handle| handle.fd == -7),
        "an array of 0 places was written"
    );
    expect(
        "getPollHandles with 0 places",
        code,
        rc::INSUFFICIENT_BUFFER,
    )
}

fn shows_the_response(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let mut found = handles(&opened)?;
    ensure!(
        wait(&mut found, LONGEST),
        "no descriptor is ready within {LONGEST:?}"
    );
    receive(opened.c, 8)
}

/// Waits with the descriptors alone, and receives without waiting.
fn receive_by_poll(opened: &crate::conformance::Opened, bytes: u16) -> Verdict {
    for _ in 0..1000 {
        let mut found = handles(opened)?;
        ensure!(
            wait(&mut found, LONGEST),
            "no descriptor is ready within {LONGEST:?}"
        );
        match opened.c.receive(0) {
            (rc::TRY_AGAIN, _) => {}
            (code, response) => {
                expect("receive(0)", code, rc::SUCCESS)?;
                return is_random(&response, bytes);
            }
        }
    }
    Err(NotPassed::Broken(
        "a descriptor was ready 1000 times, and no response came".to_owned(),
    ))
}

fn followed_by_progress(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    receive_by_poll(&opened, 8)
}

fn before_a_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let found = handles(&opened);
    exchange(opened.c, 8)?;
    let mut found = found?;
    // Polling must do no harm, whether or not a descriptor is ready.
    wait(&mut found, Duration::ZERO);
    exchange(opened.c, 4)
}

fn event_loop(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for round in 0..50 {
        send(opened.c, 1 + round % 32)?;
        receive_by_poll(&opened, 1 + round % 32)?;
    }
    Ok(())
}
