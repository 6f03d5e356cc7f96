// SPDX-License-Identifier: BSD-2-Clause
//! The duration of a receive.

use std::time::{Duration, Instant};

use super::support::{
    LONGEST, checks, expect, expect_one_of, finish_slow, flush, is_random, poll_for_response,
    receive, send, send_slow,
};
use crate::conformance::{NotPassed, Subject, Verdict, ensure};
use crate::vtable::rc;

checks! {
    "receive-0-does-not-wait": "receive(0) returns at once while the TPM works." => receive_0_does_not_wait,
    "receive-keeps-its-timeout": "receive(50) of a long command returns after about 50 ms." => receive_keeps_its_timeout,
    "a-timeout-loses-nothing": "After TSS2_TCTI_RC_TRY_AGAIN the response still comes, whole." => a_timeout_loses_nothing,
    "asking-without-waiting": "receive(0), again and again, gets the response in the end." => asking_without_waiting,
    "receive-minus-1-waits": "receive(-1) waits for the response, however long it takes." => receive_minus_1_waits,
    "a-long-timeout-is-not-waited-out": "receive with a long timeout returns when the response is there." => a_long_timeout_is_not_waited_out,
    "transmit-does-not-wait-for-the-response": "transmit returns before a long command is done." => transmit_does_not_wait,
}

/// The time limit of a call that does not wait, on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Sends a long command, and returns how long it takes: if it ends at once, a check of
/// timeouts shows nothing.
fn slow(subject: &Subject) -> Result<Duration, NotPassed> {
    let opened = subject.open()?;
    let mut longest = Duration::ZERO;
    for _ in 0..3 {
        let begun = Instant::now();
        send_slow(opened.c)?;
        finish_slow(opened.c)?;
        longest = longest.max(begun.elapsed());
    }
    Ok(longest)
}

// On a busy machine any call may be held up: the shortest of several counts.

fn receive_0_does_not_wait(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let (mut shortest, mut timed_out) = (LONGEST, false);
    for _ in 0..5 {
        send_slow(opened.c)?;
        let begun = Instant::now();
        let (code, response) = opened.c.receive(0);
        shortest = shortest.min(begun.elapsed());
        timed_out |= code == rc::TRY_AGAIN;
        expect_one_of("receive(0)", code, &[rc::TRY_AGAIN, rc::SUCCESS])?;
        match code {
            rc::SUCCESS => flush(opened.c, &response)?,
            _ => finish_slow(opened.c)?,
        }
    }
    ensure!(shortest < AT_ONCE, "receive(0) took {shortest:?}");
    // No RSA key is made in so short a time.
    ensure!(
        timed_out || shortest < Duration::from_millis(5),
        "receive(0) waited for each of five responses, {shortest:?} at least"
    );
    Ok(())
}

fn receive_keeps_its_timeout(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let (mut shortest, mut longest_success) = (None, Duration::ZERO);
    for _ in 0..8 {
        send_slow(opened.c)?;
        let begun = Instant::now();
        let (code, response) = opened.c.receive(50);
        let took = begun.elapsed();
        expect_one_of("receive(50)", code, &[rc::TRY_AGAIN, rc::SUCCESS])?;
        if code == rc::SUCCESS {
            flush(opened.c, &response)?;
            longest_success = longest_success.max(took);
            continue;
        }
        finish_slow(opened.c)?;
        shortest = Some(shortest.map_or(took, |before: Duration| before.min(took)));
    }
    let right = Duration::from_millis(45)..Duration::from_millis(150);
    let Some(took) = shortest else {
        ensure!(
            longest_success < right.end,
            "none of eight calls timed out; one took {longest_success:?}"
        );
        let text = format!("the longest of eight RSA keys took {longest_success:?}");
        return Err(NotPassed::NotApplicable(text));
    };
    ensure!(
        right.contains(&took),
        "receive(50) came back after {took:?}"
    );
    Ok(())
}

fn a_timeout_loses_nothing(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for timeout in [0, 1, 5] {
        send_slow(opened.c)?;
        let begun = Instant::now();
        let response = loop {
            let (code, response) = opened.c.receive(timeout);
            expect_one_of("receive", code, &[rc::TRY_AGAIN, rc::SUCCESS])?;
            if code == rc::SUCCESS {
                break response;
            }
            ensure!(begun.elapsed() < LONGEST, "no response within {LONGEST:?}");
        };
        flush(opened.c, &response)?;
        send(opened.c, 8)?;
        receive(opened.c, 8)?;
    }
    Ok(())
}

fn asking_without_waiting(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for bytes in 1..20 {
        send(opened.c, bytes)?;
        is_random(&poll_for_response(opened.c)?, bytes)?;
    }
    Ok(())
}

fn receive_minus_1_waits(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send_slow(opened.c)?;
    finish_slow(opened.c)
}

fn a_long_timeout_is_not_waited_out(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let begun = Instant::now();
    send(opened.c, 8)?;
    let (code, response) = opened.c.receive(20_000);
    expect("receive(20000)", code, rc::SUCCESS)?;
    is_random(&response, 8)?;
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(5), "GetRandom took {took:?}");
    Ok(())
}

fn transmit_does_not_wait(subject: &Subject) -> Verdict {
    let whole = slow(subject)?;
    if whole < 4 * AT_ONCE {
        let text = format!("the longest of three RSA keys took {whole:?}, too short to tell");
        return Err(NotPassed::NotApplicable(text));
    }
    let opened = subject.open()?;
    let mut shortest = LONGEST;
    for _ in 0..5 {
        let begun = Instant::now();
        send_slow(opened.c)?;
        shortest = shortest.min(begun.elapsed());
        finish_slow(opened.c)?;
    }
    ensure!(
        shortest < AT_ONCE,
        "transmit takes {shortest:?}, the whole command {whole:?}"
    );
    Ok(())
}
