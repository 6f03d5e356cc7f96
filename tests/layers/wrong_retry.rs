// SPDX-License-Identifier: BSD-2-Clause
//! An example of a test with the layer fault: a program that sends a command again when
//! it gets no response. This is wrong if the TPM has run the command.

use rusttcti::{Context, Result, Tcti};
use rusttcti_kit::tpm::{call, nv_define_counter, nv_increment, nv_read_counter, ok};

/// The program: counts one up, and tries again after a failure.
fn count_up(tpm: &mut dyn Tcti) -> Result<()> {
    match call(tpm, &nv_increment()) {
        Ok(_) => Ok(()),
        Err(_) => call(tpm, &nv_increment()).map(drop),
    }
}

/// The program, mended: it looks whether the TPM did it before it tries again.
fn count_up_once(tpm: &mut dyn Tcti) -> Result<()> {
    let before = nv_read_counter(tpm);
    match call(tpm, &nv_increment()) {
        Err(_) if nv_read_counter(tpm) == before => call(tpm, &nv_increment()).map(drop),
        _ => Ok(()),
    }
}

/// Returns the count that a program reaches with this fault on its second
/// NV_Increment (the first one makes the counter readable).
fn counted(program: fn(&mut dyn Tcti) -> Result<()>, fault: &str) -> u64 {
    let chain = format!("deadline,ms=100:fault,on=NV_Increment,nth=2,{fault}:libtpms");
    let mut tpm = Context::new(rusttcti::open(&chain).expect("a TPM"));
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    let before = nv_read_counter(&mut tpm);
    program(&mut tpm).expect("it tried again");
    nv_read_counter(&mut tpm) - before
}

#[test]
fn a_retry_after_a_lost_command_is_right() {
    assert_eq!(counted(count_up, "drop,side=command"), 1);
    assert_eq!(counted(count_up_once, "drop,side=command"), 1);
}

#[test]
fn a_blind_retry_after_a_lost_response_counts_twice() {
    assert_eq!(counted(count_up, "drop,side=response"), 2, "the mistake");
    assert_eq!(counted(count_up_once, "drop,side=response"), 1);
}
