// SPDX-License-Identifier: BSD-2-Clause
//! Public types may move between threads and be printed by `{:?}`, for every
//! transport in them.

use std::fmt::Debug;
use std::time::Duration;

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{Context, Esys, Native, OwnedEsys, Pipes, Result, Stream, Tcti, TctiLdr};

/// A transport that is neither Debug nor Sync.
struct Plain(std::cell::Cell<u8>);

impl Tcti for Plain {
    fn transmit(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, _: &mut [u8], _: Option<Duration>) -> Result<usize> {
        Ok(self.0.take().into())
    }
}

fn is_debug<T: Debug>() {}
fn is_sent<T: Send>() {}
fn is_shared<T: Send + Sync>() {}

#[test]
fn contexts_and_modules_are_debug_send_and_sync() {
    is_debug::<Context>();
    is_debug::<Context<Plain>>();
    is_debug::<Esys<'_, Plain>>();
    is_debug::<OwnedEsys<Plain>>();
    is_debug::<Stream<Plain>>();
    is_debug::<Pipes<u8, u8>>();
    is_debug::<Libtpms>();
    is_sent::<OwnedEsys<Plain>>();
    is_sent::<Stream<Plain>>();
    is_shared::<Context>();
    is_shared::<Context<Plain>>();
    is_shared::<Native>();
    is_shared::<TctiLdr>();
    let told = format!("{:?}", Context::new(Plain(0.into())));
    assert!(told.starts_with("Context(0x"), "{told}");
}

#[test]
fn what_is_printed_of_an_embedded_tpm_holds_no_secret() {
    let tpm = Libtpms::builder().locality(3).open().expect("a TPM");
    assert_eq!(format!("{tpm:?}"), "Libtpms { locality: 3, .. }");
}
