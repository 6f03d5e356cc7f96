// SPDX-License-Identifier: BSD-2-Clause
//! ESYS's asynchronous calls over the poll handles of swtpm and mssim.

use std::os::fd::BorrowedFd;
use std::ptr;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rusttcti::{Context, open};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;
use tss_esapi_sys::{
    ESYS_CONTEXT, Esys_Finalize, Esys_Free, Esys_GetPollHandles, Esys_GetRandom_Async,
    Esys_GetRandom_Finish, Esys_Initialize, Esys_SetTimeout, Esys_Startup, TPM2B_DIGEST,
    TSS2_TCTI_POLL_HANDLE,
};

const ESYS_TR_NONE: u32 = 0xfff;
/// The TRY_AGAIN of whichever layer.
const TRY_AGAIN: u32 = 9;

/// Returns the descriptors that ESYS offers to poll.
fn poll_handles(esys: *mut ESYS_CONTEXT) -> Vec<TSS2_TCTI_POLL_HANDLE> {
    let mut handles = ptr::null_mut();
    let mut count = 0;
    // SAFETY: as tss2_esys.h has it; the array is ours to free.
    unsafe {
        assert_eq!(Esys_GetPollHandles(esys, &mut handles, &mut count), 0);
        let copy = std::slice::from_raw_parts(handles, count as usize).to_vec();
        Esys_Free(handles.cast());
        copy
    }
}

/// Sixteen random bytes, by an event loop that never waits in a call.
fn random_bytes(esys: *mut ESYS_CONTEXT) -> Vec<u8> {
    // SAFETY: as tss2_esys.h has it.
    let sent = unsafe { Esys_GetRandom_Async(esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, 16) };
    assert_eq!(sent, 0);
    let handles = poll_handles(esys);
    let [handle] = handles[..] else {
        panic!("one handle: {handles:?}");
    };
    assert_eq!(handle.events, PollFlags::IN.bits() as i16);
    let until = Instant::now() + PATIENCE;
    loop {
        // SAFETY: the transport's, open from the command to its response.
        let fd = unsafe { BorrowedFd::borrow_raw(handle.fd) };
        let second = rustix::event::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&second),
        )
        .expect("poll");
        let mut random: *mut TPM2B_DIGEST = ptr::null_mut();
        // SAFETY: as tss2_esys.h has it; the digest is ours to free.
        unsafe {
            match Esys_GetRandom_Finish(esys, &mut random) {
                0 => {
                    let bytes = (&(*random).buffer)[..usize::from((*random).size)].to_vec();
                    Esys_Free(random.cast());
                    return bytes;
                }
                code => assert_eq!(code & 0xffff, TRY_AGAIN, "{code:x}"),
            }
        }
        assert!(Instant::now() < until, "no response");
    }
}

#[test]
fn esys_runs_in_an_event_loop() {
    let (tcp, unix, simulator) = (Swtpm::tcp(), Swtpm::unix(), Simulator::tcp());
    for chain in [
        format!("swtpm:{}", tcp.conf()),
        format!("swtpm:{}", unix.conf()),
        format!("swtpm:{},persistent=1", tcp.conf()),
        format!("mssim:{}", simulator.conf()),
    ] {
        let context = Context::new(open(&chain).expect("the peer is there"));
        let mut esys = ptr::null_mut();
        // SAFETY: as tss2_esys.h has it; the context outlives it.
        unsafe {
            assert_eq!(
                Esys_Initialize(&mut esys, context.as_ptr(), ptr::null_mut()),
                0
            );
            // ESYS knows TPM_RC_INITIALIZE for success.
            assert_eq!(Esys_Startup(esys, 0), 0, "{chain}");
            assert_eq!(Esys_SetTimeout(esys, 0), 0);
        }
        let first = random_bytes(esys);
        assert_eq!(first.len(), 16);
        for _ in 0..20 {
            assert_ne!(random_bytes(esys), first, "{chain}");
        }
        // SAFETY: as tss2_esys.h has it.
        unsafe { Esys_Finalize(&mut esys) };
    }
}
