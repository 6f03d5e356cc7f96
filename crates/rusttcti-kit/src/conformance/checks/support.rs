// SPDX-License-Identifier: BSD-2-Clause
//! Functions that several checks use.

use rusttcti::wire::CommandCode;
use std::time::{Duration, Instant};

use crate::commands::{command, get_random};
use crate::conformance::subject::Opened;
use crate::conformance::{NotPassed, Verdict, ensure};
use crate::tpm::create_primary_rsa;
use crate::vtable::{Vtable, rc};

/// The time limit of a command, on a busy machine.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// Declares the checks of a file.
macro_rules! checks {
    ($($name:literal: $promise:literal => $run:path,)*) => {
        pub(super) const CHECKS: &[$crate::conformance::Check] = &[$(
            $crate::conformance::Check { name: $name, promise: $promise, run: $run },
        )*];
    };
}
pub(super) use checks;

/// Returns a response code of a resource manager's layers as one of the TCTI's: the
/// specification lets a TCTI pass on what a resource manager behind it answers.
pub(super) fn of_tcti(code: u32) -> u32 {
    match code >> 16 {
        RESMGR_LAYER | RESMGR_TPM_LAYER => code & 0xffff | TCTI_LAYER << 16,
        _ => code,
    }
}

const TCTI_LAYER: u32 = 10;
const RESMGR_LAYER: u32 = 11;
const RESMGR_TPM_LAYER: u32 = 12;

/// Ensures that a response code is `wanted`.
pub(super) fn expect(what: &str, seen: u32, wanted: u32) -> Verdict {
    ensure!(
        of_tcti(seen) == wanted,
        "{what} answers {}, not {}",
        name(seen),
        name(wanted)
    );
    Ok(())
}

/// Ensures that a response code is one of `wanted`.
pub(super) fn expect_one_of(what: &str, seen: u32, wanted: &[u32]) -> Verdict {
    let names: Vec<String> = wanted.iter().map(|code| name(*code)).collect();
    ensure!(
        wanted.contains(&of_tcti(seen)),
        "{what} answers {}, not {}",
        name(seen),
        names.join(" or ")
    );
    Ok(())
}

/// Returns the name of a response code in C.
pub(super) fn name(code: u32) -> String {
    let mut known = rusttcti::ErrorKind::ALL.iter();
    let found = known.find(|kind| rusttcti::Error::from(**kind).rc() == code);
    match (code, found) {
        (0, _) => "TSS2_RC_SUCCESS".to_owned(),
        (_, Some(kind)) => kind.c_name().to_owned(),
        (code, None) => format!("0x{code:08x}"),
    }
}

/// Ensures that the descriptors and threads are as before.
pub(super) fn unchanged(before: &(Vec<i32>, usize), after: &(Vec<i32>, usize)) -> Verdict {
    let only = |one: &[i32], other: &[i32]| -> Vec<i32> {
        let kept = one.iter().filter(|fd| !other.contains(fd));
        kept.copied().collect()
    };
    let (closed, left) = (only(&before.0, &after.0), only(&after.0, &before.0));
    ensure!(
        closed.is_empty(),
        "it closes descriptors that it did not open: {closed:?}"
    );
    ensure!(left.is_empty(), "it leaves {} descriptors open", left.len());
    ensure!(
        before.1 == after.1,
        "{} threads before, {} after",
        before.1,
        after.1
    );
    Ok(())
}

/// Sends TPM2_GetRandom for `bytes` bytes.
pub(super) fn send(c: Vtable, bytes: u16) -> Verdict {
    expect("transmit", c.transmit(&get_random(bytes)), rc::SUCCESS)
}

/// Receives the response to [`send`].
pub(super) fn receive(c: Vtable, bytes: u16) -> Verdict {
    let (code, response) = c.receive(-1);
    expect("receive(-1)", code, rc::SUCCESS)?;
    is_random(&response, bytes)
}

/// Ensures that a response is one to TPM2_GetRandom for `bytes` bytes.
pub(super) fn is_random(response: &[u8], bytes: u16) -> Verdict {
    let wanted = 12 + usize::from(bytes);
    ensure!(
        response.len() == wanted && response[6..10] == [0; 4],
        "the response to GetRandom({bytes}) has {} bytes, not {wanted}: {response:02x?}",
        response.len()
    );
    Ok(())
}

/// Runs a whole exchange.
pub(super) fn exchange(c: Vtable, bytes: u16) -> Verdict {
    send(c, bytes)?;
    receive(c, bytes)
}

/// Sends a command that takes a TPM some time: it makes an RSA key.
pub(super) fn send_slow(c: Vtable) -> Verdict {
    expect(
        "transmit of TPM2_CreatePrimary",
        c.transmit(&create_primary_rsa(2048)),
        rc::SUCCESS,
    )
}

/// Receives the response to [`send_slow`], in any time, and flushes the key.
pub(super) fn finish_slow(c: Vtable) -> Verdict {
    let (code, response) = c.receive(-1);
    expect("receive(-1)", code, rc::SUCCESS)?;
    flush(c, &response)
}

/// Flushes the key of a response to [`send_slow`].
pub(super) fn flush(c: Vtable, response: &[u8]) -> Verdict {
    let code = u32::from_be_bytes(response[6..10].try_into().expect("a header"));
    if code != 0 {
        return Ok(()); // cancelled, or no room: nothing was made
    }
    expect(
        "transmit",
        c.transmit(&command(CommandCode::FLUSH_CONTEXT, &response[10..14])),
        rc::SUCCESS,
    )?;
    expect("receive(-1)", c.receive(-1).0, rc::SUCCESS)
}

/// Receives again and again without waiting until the response comes.
pub(super) fn poll_for_response(c: Vtable) -> Result<Vec<u8>, NotPassed> {
    let begun = Instant::now();
    loop {
        match c.receive(0) {
            (rc::SUCCESS, response) => return Ok(response),
            (rc::TRY_AGAIN, _) => std::thread::yield_now(),
            (code, _) => expect("receive(0)", code, rc::TRY_AGAIN)?,
        }
        ensure!(begun.elapsed() < LONGEST, "no response within {LONGEST:?}");
    }
}

/// Returns the descriptors to poll; not applicable if there are none.
pub(super) fn handles(opened: &Opened) -> Result<Vec<libc::pollfd>, NotPassed> {
    let c = opened.c;
    let (code, count, _) = c.poll_handles(0);
    if code == rc::NOT_IMPLEMENTED {
        return Err(NotPassed::NotApplicable(
            "it has no poll handles".to_owned(),
        ));
    }
    expect("getPollHandles", code, rc::SUCCESS)?;
    let (code, count, handles) = c.poll_handles(count.max(1));
    expect("getPollHandles", code, rc::SUCCESS)?;
    let handles = handles.iter().take(count);
    let handles = handles.map(|handle| libc::pollfd {
        fd: handle.fd,
        events: handle.events,
        revents: 0,
    });
    Ok(handles.collect())
}

/// Waits until one of the descriptors has an event; returns false at the timeout.
pub(super) fn wait(handles: &mut [libc::pollfd], timeout: Duration) -> bool {
    let milliseconds = timeout.as_millis().try_into().expect("a short time");
    let count = handles.len().try_into().expect("a few");
    // SAFETY: an array of this length.
    let ready = unsafe { libc::poll(handles.as_mut_ptr(), count, milliseconds) };
    ready > 0
}
