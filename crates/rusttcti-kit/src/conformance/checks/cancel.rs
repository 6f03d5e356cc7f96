// SPDX-License-Identifier: BSD-2-Clause
//! Cancelled commands.

use std::time::Duration;

use super::support::{
    checks, exchange, expect_one_of, finish_slow, flush, of_tcti, receive, send, send_slow,
};
use crate::conformance::{NotPassed, Subject, Verdict, ensure};
use crate::vtable::rc;

checks! {
    "cancel-is-answered": "cancel of a command under way succeeds, or is TSS2_TCTI_RC_NOT_IMPLEMENTED." => answered,
    "a-cancelled-command-ends": "A cancelled command ends: with a response, or TPM_RC_CANCELED." => ends,
    "a-cancel-meets-no-other-command": "A cancel that comes late does not cancel the next command." => meets_no_other,
    "cancel-from-another-thread": "cancel may come from another thread while receive waits." => from_another_thread,
}

const ANSWERS: [u32; 2] = [rc::SUCCESS, rc::NOT_IMPLEMENTED];

fn answered(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send_slow(opened.c)?;
    let code = opened.c.cancel();
    finish_slow(opened.c)?;
    expect_one_of("cancel", code, &ANSWERS)
}

fn ends(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for _ in 0..5 {
        send_slow(opened.c)?;
        if of_tcti(opened.c.cancel()) == rc::NOT_IMPLEMENTED {
            finish_slow(opened.c)?;
            return Err(NotPassed::NotApplicable("it cannot cancel".to_owned()));
        }
        let (code, response) = opened.c.receive(-1);
        ensure!(
            code == rc::SUCCESS,
            "receive after cancel answers 0x{code:x}"
        );
        let tpm = u32::from_be_bytes(response[6..10].try_into().expect("a header"));
        ensure!([0, 0x909].contains(&tpm), "the TPM answers 0x{tpm:x}");
        flush(opened.c, &response)?;
        exchange(opened.c, 4)?;
    }
    Ok(())
}

fn meets_no_other(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for _ in 0..50 {
        send(opened.c, 4)?;
        let code = opened.c.cancel();
        expect_one_of("cancel", code, &ANSWERS)?;
        let (code, response) = opened.c.receive(-1);
        ensure!(code == rc::SUCCESS, "receive answers 0x{code:x}");
        let tpm = u32::from_be_bytes(response[6..10].try_into().expect("a header"));
        ensure!([0, 0x909].contains(&tpm), "the TPM answers 0x{tpm:x}");
        exchange(opened.c, 8)?;
    }
    Ok(())
}

fn from_another_thread(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let c = opened.c;
    send_slow(c)?;
    let code = std::thread::scope(|scope| {
        let canceller = scope.spawn(move || {
            // Any moment is allowed: before, while or after receive waits.
            std::thread::sleep(Duration::from_millis(5));
            c.cancel()
        });
        let received = finish_slow(c);
        received.map(|()| canceller.join().expect("no panic"))
    })?;
    expect_one_of(
        "cancel",
        code,
        &[rc::SUCCESS, rc::NOT_IMPLEMENTED, rc::BAD_SEQUENCE],
    )?;
    send(c, 4)?;
    receive(c, 4)
}
