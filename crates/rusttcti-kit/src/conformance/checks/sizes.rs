// SPDX-License-Identifier: BSD-2-Clause
//! Buffers for the response: none, too small, exact, too large.

use super::support::{checks, exchange, expect, is_random, receive, send};
use crate::commands::command;
use crate::conformance::{Subject, Verdict, ensure};
use crate::vtable::rc;
use rusttcti::wire::CommandCode;

checks! {
    "null-response-tells-the-size": "receive with a NULL buffer tells a size that the response fits in, and the response stays." => null_response_tells_the_size,
    "too-small-a-buffer": "Too small a buffer is TSS2_TCTI_RC_INSUFFICIENT_BUFFER, tells the size, and the response stays." => too_small_a_buffer,
    "a-buffer-of-nothing": "A buffer of 0 bytes loses no response." => a_buffer_of_nothing,
    "exactly-fitting-buffer": "A buffer that fits exactly gets the whole response." => exactly_fitting_buffer,
    "nothing-beyond-the-response": "Memory after the response is not written." => nothing_beyond_the_response,
    "a-long-response": "A response of more than a kilobyte arrives whole." => a_long_response,
    "a-long-command": "A command of more than a kilobyte is sent whole." => a_long_command,
}

fn null_response_tells_the_size(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let (code, size) = opened.c.response_size();
    expect("receive(NULL)", code, rc::SUCCESS)?;
    ensure!(
        (20..=65536).contains(&size),
        "the size is {size}, and the response has 20 bytes"
    );
    receive(opened.c, 8)
}

fn too_small_a_buffer(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    for size in [19, 10, 1] {
        let mut buffer = vec![0; size];
        let (code, told) = opened.c.receive_into(&mut buffer, -1);
        expect(
            &format!("receive into {size} bytes"),
            code,
            rc::INSUFFICIENT_BUFFER,
        )?;
        ensure!(
            told >= 20,
            "the size told is {told}, and the response has 20 bytes"
        );
    }
    receive(opened.c, 8)
}

fn a_buffer_of_nothing(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let (code, _) = opened.c.receive_into(&mut [], -1);
    ensure!(code != rc::SUCCESS, "receive into 0 bytes succeeds");
    receive(opened.c, 8)
}

fn exactly_fitting_buffer(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let mut buffer = [0; 20];
    let (code, size) = opened.c.receive_into(&mut buffer, -1);
    expect("receive into 20 bytes", code, rc::SUCCESS)?;
    is_random(&buffer[..size], 8)
}

fn nothing_beyond_the_response(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    send(opened.c, 8)?;
    let mut buffer = [0xa5_u8; 8192];
    let (mut size, pointer) = (4096, buffer.as_mut_ptr());
    let code = opened.c.receive_raw(&mut size, pointer, -1);
    expect("receive", code, rc::SUCCESS)?;
    let behind = buffer[4096..].iter().all(|byte| *byte == 0xa5);
    ensure!(behind, "memory behind the buffer was written");
    exchange(opened.c, 4)
}

fn a_long_response(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    // TPM2_GetCapability(TPM_CAP_COMMANDS): four bytes for each of a hundred.
    let parameters = [2_u32, 0, 254].map(u32::to_be_bytes).concat();
    let sent = opened
        .c
        .transmit(&command(CommandCode::GET_CAPABILITY, &parameters));
    expect("transmit", sent, rc::SUCCESS)?;
    let (code, response) = opened.c.receive(-1);
    expect("receive", code, rc::SUCCESS)?;
    let told = u32::from_be_bytes(response[2..6].try_into().expect("a header")) as usize;
    ensure!(response.len() == told, "{} bytes of {told}", response.len());
    ensure!(told > 300, "the list of commands has {told} bytes");
    exchange(opened.c, 4)
}

fn a_long_command(subject: &Subject) -> Verdict {
    let opened = subject.open()?;
    // TPM2_Hash of 1000 bytes: SHA-256, in the null hierarchy.
    let data = [
        &1000_u16.to_be_bytes()[..],
        &[7; 1000],
        &[0, 0x0b, 0x40, 0, 0, 7],
    ]
    .concat();
    let sent = opened.c.transmit(&command(CommandCode::HASH, &data));
    expect("transmit of 1018 bytes", sent, rc::SUCCESS)?;
    let (code, response) = opened.c.receive(-1);
    expect("receive", code, rc::SUCCESS)?;
    let wanted = crate::sha256::sha256(&[7; 1000]);
    ensure!(
        response.get(12..44) == Some(&wanted[..]),
        "TPM2_Hash gives another digest"
    );
    Ok(())
}
