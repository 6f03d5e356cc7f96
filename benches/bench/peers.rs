// SPDX-License-Identifier: BSD-2-Clause
//! Contexts by name, and the peers at their other ends.

use std::sync::LazyLock;

use rusttcti::{Tcti, TctiLdr};
use tss_esapi_sys::{TSS2_TCTI_CONTEXT, TSS2_TCTI_CONTEXT_COMMON_V1, size_t};

use crate::bare::Address;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::STARTUP;

static GET_RANDOM: LazyLock<Vec<u8>> = LazyLock::new(|| get_random(16));

/// This module, by its file, so that tctildr finds it wherever it lies.
pub fn our_module() -> String {
    rusttcti_kit::module::file()
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}

/// A context of this module, loaded as any program loads it.
pub fn ours(chain: &str) -> TctiLdr {
    open(&our_module(), chain)
}

/// A context of any module.
pub fn open(module: &str, conf: &str) -> TctiLdr {
    match TctiLdr::new(module, Some(conf)) {
        Ok(tcti) => tcti,
        Err(error) => panic!("{module}:{conf}: {}", error.report()),
    }
}

/// TPM2_Startup, which the simulator leaves to its client. That it was sent
/// before is as well.
pub fn start(tcti: &mut impl Tcti) {
    let mut response = [0; 4096];
    tcti.transmit(&STARTUP).expect("sent");
    tcti.receive(&mut response, None).expect("a response");
}

/// One TPM2_GetRandom for 16 bytes, and its response.
pub fn round(tcti: &mut impl Tcti) {
    let mut response = [0; 4096];
    tcti.transmit(&GET_RANDOM).expect("sent");
    let length = tcti.receive(&mut response, None).expect("a response");
    assert_eq!((length, response_code(&response[..length])), (28, 0));
}

/// A context's two functions, as a C program calls them.
pub struct Raw {
    context: *mut TSS2_TCTI_CONTEXT,
    functions: TSS2_TCTI_CONTEXT_COMMON_V1,
}

// SAFETY: used by one thread at a time, which every context of ours allows.
unsafe impl Send for Raw {}

impl Raw {
    /// The functions of a context whose owner outlives this.
    pub fn new(context: *mut TSS2_TCTI_CONTEXT) -> Self {
        // SAFETY: a context, which begins with these.
        let functions = unsafe { *context.cast::<TSS2_TCTI_CONTEXT_COMMON_V1>() };
        Self { context, functions }
    }

    /// As [`round`], without the checks of what is in the response.
    #[inline]
    pub fn round(&self, response: &mut [u8; 4096]) {
        self.command(&GET_RANDOM, response);
    }

    /// A command of whichever bytes, and its response's length.
    #[inline]
    pub fn command(&self, command: &[u8], response: &mut [u8; 4096]) {
        let mut size = response.len() as size_t;
        // SAFETY: the owner outlives it; the buffers are as long as they say.
        unsafe {
            let sent = self.functions.transmit.unwrap()(
                self.context,
                command.len() as size_t,
                command.as_ptr(),
            );
            assert_eq!(sent, 0);
            let got =
                self.functions.receive.unwrap()(self.context, &mut size, response.as_mut_ptr(), -1);
            assert_eq!(got, 0);
        }
    }
}

/// Where a swtpm listens, for the bare loops in C.
pub fn address(swtpm: &Swtpm) -> Address {
    match swtpm.conf().strip_prefix("path=") {
        Some(path) => Address::Path(path.into()),
        None => Address::Port(swtpm.port()),
    }
}
