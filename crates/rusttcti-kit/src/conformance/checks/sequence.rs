// SPDX-License-Identifier: BSD-2-Clause
//! The order of calls.

use super::support::{checks, exchange, expect, expect_one_of, receive, send};
use crate::commands::get_random;
use crate::conformance::{Subject, Verdict, ensure};
use crate::vtable::rc;

checks! {
    "a-command-is-answered": "A command is answered by the response to it." => a_command_is_answered,
    "commands-follow-each-other": "A hundred commands in a row each get their own response." => commands_follow_each_other,
    "receive-without-command": "receive before any command is TSS2_TCTI_RC_BAD_SEQUENCE." => receive_without_command,
    "transmit-twice": "A second transmit before the response is TSS2_TCTI_RC_BAD_SEQUENCE." => transmit_twice,
    "receive-twice": "A second receive after the response is TSS2_TCTI_RC_BAD_SEQUENCE." => receive_twice,
    "cancel-without-command": "cancel before any command is TSS2_TCTI_RC_BAD_SEQUENCE, or NOT_IMPLEMENTED." => cancel_without_command,
    "cancel-after-response": "cancel after the response is TSS2_TCTI_RC_BAD_SEQUENCE, or NOT_IMPLEMENTED." => cancel_after_response,
    "locality-while-awaited": "setLocality while a response is awaited is TSS2_TCTI_RC_BAD_SEQUENCE." => locality_while_awaited,
    "refused-calls-change-nothing": "The awaited response survives calls that were refused." => refused_calls_change_nothing,
    "a-refused-command-changes-nothing": "After a command that was refused the next one works." => a_refused_command_changes_nothing,
}

fn a_command_is_answered(subject: &Subject) -> Verdict {
    exchange(subject.open()?.c, 16)
}

fn commands_follow_each_other(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for round in 0..100 {
        exchange(opened.c, 1 + round % 32)?;
    }
    Ok(())
}

fn receive_without_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    expect("receive", opened.c.receive(0).0, rc::BAD_SEQUENCE)?;
    exchange(opened.c, 4)
}

fn transmit_twice(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 4)?;
    expect(
        "the second transmit",
        opened.c.transmit(&get_random(8)),
        rc::BAD_SEQUENCE,
    )?;
    receive(opened.c, 4)
}

fn receive_twice(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    exchange(opened.c, 4)?;
    expect(
        "the second receive",
        opened.c.receive(0).0,
        rc::BAD_SEQUENCE,
    )
}

fn cancel_without_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    expect_one_of(
        "cancel",
        opened.c.cancel(),
        &[rc::BAD_SEQUENCE, rc::NOT_IMPLEMENTED],
    )?;
    exchange(opened.c, 4)
}

fn cancel_after_response(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    exchange(opened.c, 4)?;
    expect_one_of(
        "cancel",
        opened.c.cancel(),
        &[rc::BAD_SEQUENCE, rc::NOT_IMPLEMENTED],
    )?;
    exchange(opened.c, 8)
}

fn locality_while_awaited(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 4)?;
    let code = opened.c.set_locality(1);
    receive(opened.c, 4)?;
    expect_one_of(
        "setLocality",
        code,
        &[rc::BAD_SEQUENCE, rc::NOT_IMPLEMENTED],
    )
}

fn refused_calls_change_nothing(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 4)?;
    for _ in 0..3 {
        ensure!(
            opened.c.transmit(&get_random(8)) != rc::SUCCESS,
            "a second command is taken"
        );
        opened.c.set_locality(2);
    }
    receive(opened.c, 4)?;
    exchange(opened.c, 8)
}

fn a_refused_command_changes_nothing(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    ensure!(
        opened.c.transmit(&[0x80, 1, 0]) != rc::SUCCESS,
        "three bytes are taken for a command"
    );
    exchange(opened.c, 8)
}
