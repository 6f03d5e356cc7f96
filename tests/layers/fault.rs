// SPDX-License-Identifier: BSD-2-Clause
//! The layer fault: each kind of fault, and its effect on tpm2-tools and ESYS.

use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusttcti::layer::fault::Fault;
use rusttcti::wire::ResponseCode;
use rusttcti::{Cancel, Context, ErrorKind, Result, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::module::program;
use rusttcti_kit::poll::polls;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::tpm::{DEBUG_PCR, call, ok, pcr_extend, pcr_read};
use tss_esapi_sys::{ESYS_TR_NONE, Esys_Free, Esys_GetRandom};

const OK: u32 = 0;
const IO_ERROR: u32 = 0x000a_000a;
const MALFORMED: u32 = 0x000a_0011;
const NO_CONNECTION: u32 = 0x000a_0008;
const ESYS_BAD_SEQUENCE: u32 = 0x0007_0007;
/// TPM_RC_INSUFFICIENT, parameter 1; TPM_RC_SIZE.
const INSUFFICIENT: u32 = 0x1da;
const SIZE: u32 = 0x95;

/// A way to fail, the response code of ESYS's first TPM2_GetRandom then, and what
/// tpm2_getrandom prints.
struct Way {
    fault: &'static str,
    esys: u32,
    told: &'static str,
}

const fn way(fault: &'static str, esys: u32, told: &'static str) -> Way {
    Way { fault, esys, told }
}

const WAYS: &[Way] = &[
    // ESYS sends it again by itself, and the second is not struck.
    way("rc=0x922", OK, ""),
    way("rc=2338,side=command", OK, ""),
    way("rc=0x101", 0x101, "because of a TPM failure"),
    way("rc=0x101,side=command", 0x101, "because of a TPM failure"),
    way("delay=50", OK, ""),
    way("delay=50,side=command", OK, ""),
    way("drop", IO_ERROR, "no response came within 500ms"),
    way(
        "drop,side=command",
        IO_ERROR,
        "no response came within 500ms",
    ),
    way(
        "cut=3",
        MALFORMED,
        "the response has 17 bytes, but its header says 20",
    ),
    way(
        "cut=3,side=command",
        INSUFFICIENT,
        "there were not enough octets",
    ),
    way(
        "grow=2",
        MALFORMED,
        "the response has 22 bytes, but its header says 20",
    ),
    way("grow=2,side=command", SIZE, "structure is the wrong size"),
    // The last bit of the response code.
    way("flip=79", 0x1, "Esys_GetRandom(0x1)"),
    // GetRandom becomes a code that no command has.
    way(
        "flip=78,side=command",
        ResponseCode::COMMAND_CODE.0,
        "command code not supported",
    ),
    way("close", NO_CONNECTION, "the connection was closed"),
    way(
        "close,side=command",
        NO_CONNECTION,
        "the connection was closed",
    ),
    // An embedded TPM starts by itself, and lost nothing that this needs.
    way("reset", OK, ""),
    way("reset,side=command", OK, ""),
];

fn chain(fault: &str) -> String {
    format!("deadline,ms=500:fault,on=GetRandom,nth=1,{fault}:libtpms")
}

/// Eight random bytes of ESYS's, or its response code.
fn random(esys: &rusttcti::Esys<'_>) -> u32 {
    let (none, mut random) = (ESYS_TR_NONE, ptr::null_mut());
    // SAFETY: ESYS's context, and a place for what it allocates, freed once.
    unsafe {
        let code = Esys_GetRandom(esys.as_ptr(), none, none, none, 8, &mut random);
        if code == 0 {
            assert_eq!((*random).size, 8);
            Esys_Free(random.cast());
        }
        code
    }
}

#[test]
fn esys_reports_each_fault_and_goes_on_where_it_can() {
    for Way {
        fault, esys: code, ..
    } in WAYS
    {
        let tcti = Context::new(rusttcti::open(&chain(fault)).expect("a TPM"));
        let esys = tcti.esys().expect("ESYS");
        assert_eq!(random(&esys), *code, "{fault}");
        let next = match *code {
            // After an error of the transport's ESYS takes no command any more.
            IO_ERROR | MALFORMED | NO_CONNECTION => ESYS_BAD_SEQUENCE,
            _ => OK,
        };
        assert_eq!(random(&esys), next, "after {fault}");
        // The transport goes on where ESYS does not.
        drop(esys);
        let mut tcti = tcti.into_inner().expect("ESYS leaves it open");
        let works = call(&mut *tcti, &get_random(8)).is_ok();
        assert_eq!(works, !fault.starts_with("close"), "after {fault}");
    }
}

#[test]
fn tpm2_tools_tell_each_fault() {
    for Way { fault, esys, told } in WAYS {
        let output = program("tpm2_getrandom")
            .args(["-T", &format!("rusttcti:{}", chain(fault)), "--hex", "8"])
            .output()
            .expect("tpm2-tools run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), *esys == OK, "{fault}: {said}");
        assert!(said.contains(told), "{fault}: {said}");
        let bytes = if *esys == OK { 16 } else { 0 };
        assert_eq!(output.stdout.len(), bytes, "{fault}");
    }
}

#[test]
fn a_response_that_lies_about_what_is_in_it_is_believed_by_esys() {
    // The size of the random bytes says 9 where there are 8.
    let output = program("tpm2_getrandom")
        .args([
            "-T",
            "rusttcti:fault,on=GetRandom,flip=95:libtpms",
            "--hex",
            "8",
        ])
        .output()
        .expect("tpm2-tools run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Got 9 bytes, expected: 8"), "{said}");
}

fn open(fault: &str) -> Context {
    Context::new(rusttcti::open(fault).expect(fault))
}

#[test]
fn side_says_whether_the_tpm_ran_the_command() {
    for (fault, ran) in [
        ("rc=0x101", true),
        ("rc=0x101,side=command", false),
        ("cut=1", true),
        ("flip=79", true),
        ("grow=1", true),
        ("flip=64,side=command", false),
        ("cut=1,side=command", false),
    ] {
        let mut tpm = open(&format!("fault,on=PCR_Extend,{fault}:libtpms"));
        let _ = call(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
        let value = pcr_read(&mut tpm, DEBUG_PCR);
        assert_eq!(value != [0; 32], ran, "{fault}");
    }
}

#[test]
fn a_reset_comes_before_the_command_or_after_its_response() {
    for (side, left) in [("response", false), ("command", true)] {
        let mut tpm = open(&format!("fault,on=PCR_Extend,reset,side={side}:libtpms"));
        ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
        assert_eq!(pcr_read(&mut tpm, DEBUG_PCR) != [0; 32], left, "{side}");
    }
    let scripted = Scripted {
        reset: Box::new(|()| Err(ErrorKind::NotImplemented.into())),
        ..Scripted::default()
    };
    let mut tpm = Context::new(Fault::new(scripted, "reset").expect("a layer"));
    let error = call(&mut tpm, &get_random(8)).expect_err("it has no power");
    assert!(
        error.to_string().contains("cannot be power-cycled"),
        "{error}"
    );
}

#[test]
fn stacked_faults_count_for_themselves() {
    let mut tpm = open("fault,every=2,rc=0x922:fault,every=3,rc=0x101:libtpms");
    let codes: Vec<u32> = (0..6)
        .map(|_| response_code(&call(&mut tpm, &get_random(8)).expect("a response")))
        .collect();
    assert_eq!(codes, [0, 0x922, 0x101, 0x922, 0, 0x922]);
}

#[test]
fn a_seed_makes_the_same_faults_each_time() {
    let struck = |seed: u32| -> Vec<bool> {
        let mut tpm = open(&format!("fault,chance=0.5,seed={seed},rc=0x922:libtpms"));
        (0..64)
            .map(|_| response_code(&call(&mut tpm, &get_random(8)).expect("one")) != 0)
            .collect()
    };
    assert_eq!(struck(1), struck(1));
    assert_ne!(struck(1), struck(2));
}

#[test]
fn a_delay_keeps_timeouts_and_tells_its_end_by_the_poll_handle() {
    for side in ["response", "command"] {
        let scripted = Scripted {
            poll_handles: Box::new(|()| Ok(Vec::new())),
            ..Scripted::default()
        };
        let log = scripted.log.clone();
        let options = format!("delay=60,side={side}");
        let mut tpm = Fault::new(scripted, &options).expect("a layer");
        assert!(!polls(&mut tpm, Duration::ZERO));
        let begun = Instant::now();
        tpm.transmit(&get_random(8)).expect("sent");
        let sent = usize::from(side == "response");
        assert_eq!(log.count("transmit"), sent);
        for _ in 0..2 {
            let early = tpm.receive(&mut [0; 4096], Some(Duration::ZERO));
            assert_eq!(early.expect_err("early").kind(), ErrorKind::TryAgain);
        }
        assert!(polls(&mut tpm, PATIENCE), "{side}");
        let length = tpm.receive(&mut [0; 4096], Some(Duration::ZERO));
        assert_eq!(length.expect("the response"), 28);
        assert!(begun.elapsed() >= Duration::from_millis(60));
        assert!(!polls(&mut tpm, Duration::ZERO));
        assert_eq!((log.count("transmit"), log.count("receive")), (1, 1));
    }
}

#[test]
fn a_dropped_message_is_waited_for_as_long_as_the_caller_says_and_a_cancel_ends_that() {
    for side in ["response", "command"] {
        let mut tpm = open(&format!("fault,nth=1,drop,side={side}:libtpms"));
        tpm.transmit(&get_random(8)).expect("sent");
        let begun = Instant::now();
        let early = tpm.receive(&mut [0; 4096], Some(Duration::from_millis(30)));
        assert_eq!(early.expect_err("nothing").kind(), ErrorKind::TryAgain);
        assert!(begun.elapsed() >= Duration::from_millis(30));
        tpm.canceller().expect("one").cancel().expect("cancelled");
        let error = tpm.receive(&mut [0; 4096], None).expect_err("it is lost");
        let told = format!("fault: the {side} was dropped, and then cancelled");
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::IoError, told)
        );
        ok(&mut tpm, &get_random(8));
    }
}

struct Done;

impl Cancel for Done {
    fn cancel(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_cancel_of_a_delayed_command_is_its_answer_and_of_a_delayed_response_its_end() {
    for (side, size) in [("command", 10), ("response", 28)] {
        let scripted = Scripted {
            canceller: Some(Arc::new(Done)),
            ..Scripted::default()
        };
        let log = scripted.log.clone();
        let options = format!("nth=1,delay=3600000,side={side}");
        let mut tpm = Fault::new(scripted, &options).expect("a layer");
        tpm.transmit(&get_random(8)).expect("sent");
        let canceller = tpm.canceller().expect("one");
        canceller.cancel().expect("cancelled");
        let length = tpm.receive(&mut [0; 4096], None).expect("an answer");
        assert_eq!(length, size, "{side}");
        assert_eq!(log.count("transmit"), usize::from(side == "response"));
    }
}

#[test]
fn after_close_nothing_is_asked_of_what_was_below() {
    let scripted = Scripted::default();
    let log = scripted.log.clone();
    let mut tpm = Context::new(Fault::new(scripted, "nth=2,close").expect("a layer"));
    ok(&mut tpm, &get_random(8));
    for _ in 0..2 {
        let error = call(&mut tpm, &get_random(8)).expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::NoConnection);
    }
    assert!(tpm.poll_handles().is_err() && tpm.set_locality(1).is_err());
    tpm.finalize().expect("the end");
    assert_eq!(log.count("finalize"), 1);
    assert_eq!(log.count("transmit"), 2);
    assert_eq!(log.count("poll_handles") + log.count("set_locality"), 0);
}

#[test]
fn what_has_no_room_in_a_response_is_an_error_and_never_written() {
    let scripted = Scripted {
        receive: Box::new(|response, _| put(response, &answer(4090))),
        ..Scripted::default()
    };
    let mut tpm = Fault::new(scripted, "grow=7").expect("a layer");
    tpm.transmit(&get_random(8)).expect("sent");
    let error = tpm.receive(&mut [0; 4096], None).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
}

#[test]
fn its_options_are_held_to_the_page() {
    for (options, told) in [
        ("", "exactly one of rc="),
        ("drop,close", "exactly one of rc="),
        ("on=GetRandom", "exactly one of rc="),
        ("drop=1", "drop takes no value"),
        (
            "rc",
            "\"rc\" of the layer fault is not of the form key=value",
        ),
        ("rc=x", "a response code"),
        ("cut=0", "a number from 1"),
        ("drop,side=both", "command or response"),
        ("dorp", "has no option \"dorp\""),
    ] {
        let fault = Fault::new(Scripted::default(), options);
        let error = fault.err().expect(options);
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(error.to_string().contains(told), "{options}: {error}");
    }
}
