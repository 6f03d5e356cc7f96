// SPDX-License-Identifier: BSD-2-Clause
//! Arguments that are NULL, foreign or out of range.

use std::ptr;

use tss_esapi_sys::{TSS2_TCTI_CONTEXT_COMMON_V2, size_t};

use super::support::{checks, exchange, expect, expect_one_of, receive, send};
use crate::commands::get_random;
use crate::conformance::{Subject, Verdict};
use crate::vtable::{Vtable, rc};

checks! {
    "null-command": "transmit of a NULL command is TSS2_TCTI_RC_BAD_REFERENCE." => null_command,
    "null-size": "receive with a NULL size is TSS2_TCTI_RC_BAD_REFERENCE, and the response stays." => null_size,
    "null-number-of-handles": "getPollHandles with a NULL number is TSS2_TCTI_RC_BAD_REFERENCE." => null_number_of_handles,
    "null-handle": "makeSticky with a NULL handle is TSS2_TCTI_RC_BAD_REFERENCE or NOT_IMPLEMENTED." => null_handle,
    "null-context-transmit": "transmit on a NULL context is refused." => null_context_transmit,
    "null-context-receive": "receive on a NULL context is refused." => null_context_receive,
    "null-context-cancel": "cancel on a NULL context is refused." => null_context_cancel,
    "null-context-poll-handles": "getPollHandles on a NULL context is refused." => null_context_poll_handles,
    "null-context-locality": "setLocality on a NULL context is refused." => null_context_locality,
    "null-context-finalize": "finalize of a NULL context does nothing." => null_context_finalize,
    "foreign-context": "A context of another magic is TSS2_TCTI_RC_BAD_CONTEXT." => foreign_context,
    "command-shorter-than-a-header": "A command of under ten bytes is TSS2_TCTI_RC_BAD_VALUE." => command_shorter_than_a_header,
    "command-that-lies": "A command whose header tells another size is TSS2_TCTI_RC_BAD_VALUE." => command_that_lies,
    "timeout-below-minus-one": "receive with a timeout below -1 is TSS2_TCTI_RC_BAD_VALUE, and the response stays." => timeout_below_minus_one,
}

const NULL: Vtable = Vtable(ptr::null_mut());

fn null_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let code = opened.c.transmit_raw(12, ptr::null());
    expect("transmit(NULL)", code, rc::BAD_REFERENCE)?;
    exchange(opened.c, 4)
}

fn null_size(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 4)?;
    let mut buffer = [0; 4096];
    let code = opened
        .c
        .receive_raw(ptr::null_mut(), buffer.as_mut_ptr(), -1);
    expect("receive", code, rc::BAD_REFERENCE)?;
    receive(opened.c, 4)
}

fn null_number_of_handles(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let code = opened.c.poll_handles_raw(ptr::null_mut(), ptr::null_mut());
    expect_one_of(
        "getPollHandles",
        code,
        &[rc::BAD_REFERENCE, rc::NOT_IMPLEMENTED],
    )
}

fn null_handle(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let code = opened.c.make_sticky(ptr::null_mut(), 1);
    expect_one_of(
        "makeSticky",
        code,
        &[rc::BAD_REFERENCE, rc::NOT_IMPLEMENTED],
    )?;
    exchange(opened.c, 4)
}

/// The response codes that a NULL context may get.
const REFUSALS: [u32; 3] = [rc::BAD_REFERENCE, rc::BAD_CONTEXT, rc::NOT_IMPLEMENTED];

/// Opens a context, and makes a call on NULL with its functions.
fn on_null(subject: &Subject, what: &str, call: impl Fn(&Vtable) -> u32) -> Verdict {
    let opened = subject.open()?;
    expect_one_of(what, call(&opened.c), &REFUSALS)
}

fn null_context_transmit(subject: &Subject) -> Verdict {
    let command = get_random(4);
    on_null(subject, "transmit", |c| {
        let transmit = c.common().v1.transmit.expect("it is there");
        // SAFETY: the check passes NULL on purpose.
        unsafe { transmit(NULL.0, command.len() as size_t, command.as_ptr()) }
    })
}

fn null_context_receive(subject: &Subject) -> Verdict {
    on_null(subject, "receive", |c| {
        let receive = c.common().v1.receive.expect("it is there");
        let (mut size, mut buffer) = (4096, [0; 4096]);
        // SAFETY: the check passes NULL on purpose.
        unsafe { receive(NULL.0, &mut size, buffer.as_mut_ptr(), 0) }
    })
}

fn null_context_cancel(subject: &Subject) -> Verdict {
    on_null(subject, "cancel", |c| match c.common().v1.cancel {
        // SAFETY: the check passes NULL on purpose.
        Some(cancel) => unsafe { cancel(NULL.0) },
        None => rc::NOT_IMPLEMENTED,
    })
}

fn null_context_poll_handles(subject: &Subject) -> Verdict {
    on_null(subject, "getPollHandles", |c| {
        match c.common().v1.getPollHandles {
            Some(get) => {
                let mut count = 0;
                // SAFETY: the check passes NULL on purpose.
                unsafe { get(NULL.0, ptr::null_mut(), &mut count) }
            }
            None => rc::NOT_IMPLEMENTED,
        }
    })
}

fn null_context_locality(subject: &Subject) -> Verdict {
    on_null(subject, "setLocality", |c| {
        match c.common().v1.setLocality {
            // SAFETY: the check passes NULL on purpose.
            Some(set) => unsafe { set(NULL.0, 0) },
            None => rc::NOT_IMPLEMENTED,
        }
    })
}

fn null_context_finalize(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    if let Some(finalize) = opened.c.common().v1.finalize {
        // SAFETY: the check passes NULL on purpose.
        unsafe { finalize(NULL.0) };
    }
    exchange(opened.c, 4)
}

fn foreign_context(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let transmit = opened.c.common().v1.transmit.expect("it is there");
    // Memory with another magic, large enough for any context.
    let mut memory = [0_u64; 1024];
    memory[0] = 0x4e4f_5448_494e_4721;
    let command = get_random(4);
    // SAFETY: a struct of this type, in which all functions are missing.
    let code = unsafe {
        let foreign = memory.as_mut_ptr().cast::<TSS2_TCTI_CONTEXT_COMMON_V2>();
        transmit(foreign.cast(), command.len() as size_t, command.as_ptr())
    };
    expect("transmit", code, rc::BAD_CONTEXT)
}

fn command_shorter_than_a_header(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    let command = get_random(4);
    for size in [0, 1, 9] {
        let code = opened.c.transmit(&command[..size]);
        expect(&format!("transmit of {size} bytes"), code, rc::BAD_VALUE)?;
    }
    exchange(opened.c, 4)
}

fn command_that_lies(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    for told in [0_u8, 11, 13, 255] {
        let mut command = get_random(4);
        command[5] = told;
        let code = opened.c.transmit(&command);
        let what = format!("transmit of 12 bytes whose header tells {told}");
        expect(&what, code, rc::BAD_VALUE)?;
    }
    exchange(opened.c, 4)
}

fn timeout_below_minus_one(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 4)?;
    for timeout in [-2, i32::MIN] {
        let (code, _) = opened.c.receive(timeout);
        expect(&format!("receive({timeout})"), code, rc::BAD_VALUE)?;
    }
    receive(opened.c, 4)
}
