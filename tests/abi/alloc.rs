// SPDX-License-Identifier: BSD-2-Clause
//! A command costs no heap allocation in the bridge once the context is open.

use std::sync::Arc;
use std::time::Duration;

use rusttcti::layer::pcap::Pcap;
use rusttcti::{Cancel, Context, ErrorKind, Native, Result, Tcti};
use rusttcti_kit::alloc::on_this_thread;
use rusttcti_kit::commands::{get_random, response_code};
use tss_esapi_sys::TSS2_TCTI_CONTEXT_COMMON_V1;

/// Answers every command with success, at the second receive, and allocates nothing.
struct Answers {
    looks: u32,
    canceller: Arc<Nothing>,
}

struct Nothing;

impl Cancel for Nothing {
    fn cancel(&self) -> Result<()> {
        Ok(())
    }
}

impl Tcti for Answers {
    fn transmit(&mut self, _command: &[u8]) -> Result<()> {
        self.looks = 0;
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        self.looks += 1;
        if self.looks == 1 {
            return Err(ErrorKind::TryAgain.into());
        }
        response[..10].copy_from_slice(&[0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0]);
        Ok(10)
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        Some(self.canceller.clone())
    }
}

fn answers() -> Context<Answers> {
    Context::new(Answers {
        looks: 0,
        canceller: Arc::new(Nothing),
    })
}

const TRY_AGAIN: u32 = 0x000a_0009;

#[test]
fn a_command_through_the_c_vtable_allocates_nothing() {
    let context = answers();
    let pointer = context.as_ptr();
    // SAFETY: a context of ours, which begins with the C interface's functions.
    let vtable = unsafe { *pointer.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>() };
    let (transmit, receive) = (vtable.transmit.unwrap(), vtable.receive.unwrap());
    let cancel = vtable.cancel.unwrap();

    let command = get_random(16);
    let mut response = [0; 4096];
    let mut round = || {
        let mut size = response.len() as _;
        // SAFETY: the context lives, and the buffers are as long as they say.
        unsafe {
            assert_eq!(transmit(pointer, command.len() as _, command.as_ptr()), 0);
            assert_eq!(
                receive(pointer, &mut size, response.as_mut_ptr(), 0),
                TRY_AGAIN
            );
            assert_eq!(cancel(pointer), 0);
            assert_eq!(receive(pointer, &mut size, std::ptr::null_mut(), 0), 0);
            assert_eq!(receive(pointer, &mut size, response.as_mut_ptr(), -1), 0);
        }
        assert_eq!(response_code(&response[..size as usize]), 0);
    };
    round();
    let allocations = on_this_thread(|| (0..1000).for_each(|_| round()));
    assert_eq!(allocations, 0);
}

#[test]
fn a_command_through_a_native_context_allocates_nothing() {
    let context = answers();
    // SAFETY: a context of ours, used by nobody else, that outlives `native`.
    let mut native = unsafe { Native::from_raw(context.as_ptr()) }.expect("a context");

    let command = get_random(16);
    let mut response = [0; 4096];
    let mut round = || {
        native.transmit(&command).expect("sent");
        let early = native.receive(&mut response, Some(Duration::ZERO));
        assert_eq!(
            early.expect_err("only at the second look").kind(),
            ErrorKind::TryAgain
        );
        assert_eq!(native.receive(&mut response, None).expect("a response"), 10);
    };
    round();
    let allocations = on_this_thread(|| (0..1000).for_each(|_| round()));
    assert_eq!(allocations, 0);
}

#[test]
fn a_recorded_command_allocates_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let answers = Answers {
        looks: 0,
        canceller: Arc::new(Nothing),
    };
    let mut recorded = Pcap::new(answers, folder.path().join("tpm.pcapng")).expect("a layer");

    let command = get_random(16);
    let mut response = [0; 4096];
    let mut round = || {
        recorded.transmit(&command).expect("sent");
        let early = recorded.receive(&mut response, Some(Duration::ZERO));
        assert_eq!(early.expect_err("later").kind(), ErrorKind::TryAgain);
        assert_eq!(recorded.receive(&mut response, None).expect("done"), 10);
    };
    round();
    let allocations = on_this_thread(|| (0..1000).for_each(|_| round()));
    assert_eq!(allocations, 0);
}
