// SPDX-License-Identifier: BSD-2-Clause
//! ESYS over an in-process [`Context`] of the embedded TPM.

use std::process::Command;
use std::ptr;

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::CommandCode;
use rusttcti::{Context, Error, ErrorKind, Esys, OwnedEsys};
use tss_esapi_sys::*;

const TR: u32 = ESYS_TR_NONE;
/// TPM_RC_INITIALIZE: the TPM was started before.
const RC_INITIALIZE: u32 = 0x100;
const TRY_AGAIN: u32 = 9;
const SU_CLEAR: u16 = 0;
const ALG_SHA256: u16 = 0x000b;

/// A TPM of its own.
fn tpm() -> Context {
    Context::new(rusttcti::open("libtpms").expect("a TPM"))
}

/// Sixteen bytes that ESYS allocated.
fn taken(random: *mut TPM2B_DIGEST) -> Vec<u8> {
    assert!(!random.is_null());
    // SAFETY: what ESYS said it wrote; freed once.
    unsafe {
        let bytes = (&(*random).buffer)[..usize::from((*random).size)].to_vec();
        Esys_Free(random.cast());
        bytes
    }
}

#[test]
fn a_tpm_that_esys_set_up_is_where_others_start_from() {
    let tcti = Context::new(Libtpms::builder().open().expect("a TPM"));
    let mut values = TPML_DIGEST_VALUES {
        count: 1,
        ..Default::default()
    };
    values.digests[0].hashAlg = ALG_SHA256;
    let esys = tcti.esys().expect("ESYS");
    let pcr = rusttcti_kit::tpm::DEBUG_PCR;
    // SAFETY: a context, and values that live through the call.
    let code = unsafe { Esys_PCR_Extend(esys.as_ptr(), pcr, ESYS_TR_PASSWORD, TR, TR, &values) };
    assert_eq!(code, 0);
    drop(esys);
    let mut tpm = tcti.into_inner().expect("ESYS did not finalize it");
    let state = tpm.snapshot().expect("its state");

    let mut other = Libtpms::builder().state(state).open().expect("another");
    let extended = rusttcti_kit::tpm::pcr_read(&mut tpm, rusttcti_kit::tpm::DEBUG_PCR);
    assert_eq!(
        rusttcti_kit::tpm::pcr_read(&mut other, rusttcti_kit::tpm::DEBUG_PCR),
        extended
    );
    let mut new = Libtpms::builder().open().expect("a new TPM");
    assert_ne!(
        rusttcti_kit::tpm::pcr_read(&mut new, rusttcti_kit::tpm::DEBUG_PCR),
        extended
    );
}

#[test]
fn the_first_command_just_works_and_a_startup_says_that_it_was_done() {
    let tcti = tpm();
    let esys = tcti.esys().expect("ESYS");
    let mut random = ptr::null_mut();
    // SAFETY: a context, and a place.
    unsafe {
        assert_eq!(
            Esys_GetRandom(esys.as_ptr(), TR, TR, TR, 16, &mut random),
            0
        );
        assert_eq!(taken(random).len(), 16);
        // ESYS takes the TPM's answer, that it was started before, for success.
        assert_eq!(Esys_Startup(esys.as_ptr(), SU_CLEAR), 0);
    }
    let startup = rusttcti_kit::commands::command(CommandCode::STARTUP, &SU_CLEAR.to_be_bytes());
    let c = rusttcti_kit::vtable::Vtable(tcti.as_ptr());
    assert_eq!(c.transmit(&startup), 0);
    assert_eq!(
        rusttcti_kit::commands::response_code(&c.receive(-1).1),
        RC_INITIALIZE
    );
}

#[test]
fn the_transport_comes_back_as_it_is_when_esys_is_done() {
    let scripted = rusttcti_kit::scripted::Scripted::default();
    let log = scripted.log.clone();
    let tcti = Context::new(scripted);
    for _ in 0..2 {
        drop(tcti.esys().expect("ESYS, one after the other"));
    }
    let mut scripted = tcti.into_inner().expect("it was not finalized");
    assert_eq!(log.count("finalize"), 0, "{:?}", log.calls());
    rusttcti::Tcti::transmit(&mut scripted, &rusttcti_kit::commands::get_random(16)).expect("open");
}

#[test]
fn a_command_over_what_was_finalized_is_a_bad_sequence() {
    let tcti = tpm();
    rusttcti_kit::vtable::Vtable(tcti.as_ptr()).finalize();
    let esys = tcti.esys().expect("ESYS");
    let mut random = ptr::null_mut();
    // SAFETY: a context, and a place.
    let code = unsafe { Esys_GetRandom(esys.as_ptr(), TR, TR, TR, 16, &mut random) };
    assert_eq!(code, rusttcti_kit::vtable::rc::BAD_SEQUENCE);
}

#[test]
fn an_asynchronous_command_is_finished_when_its_poll_handle_fires() {
    let tcti = tpm();
    let esys = tcti.esys().expect("ESYS");
    let mut handles = ptr::null_mut();
    let mut count = 0;
    let mut random = ptr::null_mut();
    // SAFETY: a context, and places; the handles are ESYS's array of `count`.
    unsafe {
        for _ in 0..3 {
            assert_eq!(Esys_GetRandom_Async(esys.as_ptr(), TR, TR, TR, 16), 0);
            assert_eq!(
                Esys_GetPollHandles(esys.as_ptr(), &mut handles, &mut count),
                0
            );
            assert!(count >= 1);
            let fired = libc::poll(handles.cast(), count, 10_000);
            assert!(fired >= 1, "within 10 s");
            Esys_Free(handles.cast());
            let code = Esys_GetRandom_Finish(esys.as_ptr(), &mut random);
            assert_eq!(code, 0, "0x{code:x}");
            assert_eq!(taken(random).len(), 16);
        }
    }
}

#[test]
fn a_long_command_is_asked_for_again_and_again_until_it_is_done() {
    let tcti = tpm();
    let esys = tcti.esys().expect("ESYS");
    // SAFETY: a context; ESYS tells when it is done.
    unsafe {
        assert_eq!(Esys_SelfTest_Async(esys.as_ptr(), TR, TR, TR, 1), 0);
        let mut asked = 0_u64;
        loop {
            match Esys_SelfTest_Finish(esys.as_ptr()) {
                0 => break,
                code => assert_eq!(code & 0xffff, TRY_AGAIN, "0x{code:x}"),
            }
            asked += 1;
            assert!(asked < 1_000_000_000, "it never ends");
            std::thread::yield_now();
        }
    }
}

#[test]
fn two_tpms_in_one_process_are_two() {
    let (one, other) = (tpm(), tpm());
    let (one, other) = (one.esys().expect("ESYS"), other.esys().expect("ESYS"));
    let extend = |esys: &Esys| {
        let mut digests = TPML_DIGEST_VALUES {
            count: 1,
            ..Default::default()
        };
        digests.digests[0].hashAlg = ALG_SHA256;
        digests.digests[0].digest.sha256 = [7; 32];
        // SAFETY: a context and a whole list.
        unsafe {
            Esys_PCR_Extend(
                esys.as_ptr(),
                ESYS_TR_PCR16,
                ESYS_TR_PASSWORD,
                TR,
                TR,
                &digests,
            )
        }
    };
    let read = |esys: &Esys| {
        let mut selection = TPML_PCR_SELECTION {
            count: 1,
            ..Default::default()
        };
        selection.pcrSelections[0].hash = ALG_SHA256;
        selection.pcrSelections[0].sizeofSelect = 3;
        selection.pcrSelections[0].pcrSelect[2] = 1; // PCR 16
        let (mut counter, mut values) = (0, ptr::null_mut::<TPML_DIGEST>());
        // SAFETY: a context, a whole selection, and places.
        unsafe {
            let code = Esys_PCR_Read(
                esys.as_ptr(),
                TR,
                TR,
                TR,
                &selection,
                &mut counter,
                ptr::null_mut(),
                &mut values,
            );
            assert_eq!(code, 0);
            let first = (*values).digests[0];
            Esys_Free(values.cast());
            first.buffer[..usize::from(first.size)].to_vec()
        }
    };
    assert_eq!(extend(&one), 0);
    assert_ne!(read(&one), vec![0; 32]);
    assert_eq!(read(&other), vec![0; 32]);
}

#[test]
fn the_examples_run() {
    let run = |example: &str, chain: &str| {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", example, "--", chain])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let random = run("esys-in-process", "libtpms");
    assert_eq!(random.trim().len(), 32, "16 bytes in hex: {random}");
    let table = run("observe", "libtpms");
    assert!(table.contains("0x17b     100"), "{table}");
    assert!(table.contains("0x181     100"), "{table}");
    let counted = run("count", "count,every=10:libtpms");
    assert_eq!(counted, "10 commands\n20 commands\n30 commands\n");
}

#[test]
fn two_of_esys_over_one_context_take_turns_and_none_disturbs_the_others_command() {
    let tcti = tpm();
    let (one, other) = (tcti.esys().expect("ESYS"), tcti.esys().expect("ESYS"));
    let random = |esys: &Esys<'_>| {
        let mut random = ptr::null_mut();
        // SAFETY: a context, and a place.
        let code = unsafe { Esys_GetRandom(esys.as_ptr(), TR, TR, TR, 16, &mut random) };
        (code == 0).then(|| taken(random)).ok_or(code)
    };
    assert_ne!(random(&one), random(&other));
    // SAFETY: a context.
    let code = unsafe { Esys_GetRandom_Async(one.as_ptr(), TR, TR, TR, 16) };
    assert_eq!(code, 0);
    assert_eq!(random(&other), Err(rusttcti_kit::vtable::rc::BAD_SEQUENCE));
    let mut late = ptr::null_mut();
    // SAFETY: a context, and a place.
    let code = unsafe { Esys_GetRandom_Finish(one.as_ptr(), &mut late) };
    assert_eq!(code, 0);
    assert_eq!(taken(late).len(), 16, "it was not disturbed");
    assert!(random(&one).is_ok());
}

/// The code of a GetRandom, whose bytes are freed.
fn get_random(esys: *mut ESYS_CONTEXT) -> u32 {
    let mut random = ptr::null_mut();
    // SAFETY: a context, and a place.
    let code = unsafe { Esys_GetRandom(esys, TR, TR, TR, 16, &mut random) };
    if code == 0 {
        assert_eq!(taken(random).len(), 16);
    }
    code
}

#[test]
fn check_gives_the_error_that_the_transport_failed_with_or_the_code_in_words() {
    use rusttcti_kit::scripted::{Scripted, put};
    // The answer to the second command comes from a TPM that is in failure mode.
    let mut commands = 0;
    let failing = b"\x80\x01\0\0\0\x0a\0\0\x01\x01";
    let tcti = Context::new(Scripted {
        transmit: Box::new(move |_| {
            commands += 1;
            match commands {
                1 => {
                    let eio = std::io::Error::from_raw_os_error(5);
                    Err(Error::from(eio).context("the line is noisy"))
                }
                _ => Ok(()),
            }
        }),
        receive: Box::new(|response, _| put(response, failing)),
        ..Scripted::default()
    });
    let esys = tcti.esys().expect("ESYS");
    let code = get_random(esys.as_ptr());
    assert_eq!(code, rusttcti_kit::vtable::rc::IO_ERROR);
    let error = esys.check(code).expect_err("it failed");
    assert_eq!(error.rc(), code);
    assert_eq!(
        error.report(),
        "the line is noisy: Input/output error (os error 5)"
    );
    let cause = std::error::Error::source(&error).and_then(std::error::Error::source);
    assert!(
        cause.is_some_and(|cause| cause.is::<std::io::Error>()),
        "{error:#?}"
    );

    // ESYS goes no further after that.
    let error = esys.check(get_random(esys.as_ptr()));
    assert_eq!(error.expect_err("ESYS's own").rc() >> 16, 7);
    drop(esys);
    let esys = tcti.esys().expect("another");
    let code = get_random(esys.as_ptr());
    assert_eq!(code, 0x101);
    let error = esys.check(code).expect_err("the TPM failed");
    assert_eq!(
        (error.rc(), error.kind()),
        (0x101, ErrorKind::GeneralFailure)
    );
    assert!(error.to_string().contains("failure"), "{error}");
    // An old failure of the transport is not taken for ESYS's own.
    let error = esys
        .check(rusttcti_kit::vtable::rc::IO_ERROR)
        .expect_err("a code");
    assert!(!error.report().contains("noisy"), "{error}");
    esys.check(0).expect("success");
}

#[test]
fn an_owned_esys_works_on_another_thread_and_ends_before_its_transport() {
    let scripted = rusttcti_kit::scripted::Scripted::default();
    let log = scripted.log.clone();
    let esys = Context::new(scripted).into_esys().expect("ESYS");
    drop(esys);
    assert_eq!(log.calls(), ["finalize", "drop"]);

    let esys: OwnedEsys = tpm().into_esys().expect("ESYS");
    let esys = std::thread::spawn(move || {
        esys.check(get_random(esys.as_ptr())).expect("random bytes");
        esys
    });
    let esys = esys.join().expect("no panic");
    esys.check(get_random(esys.as_ptr())).expect("random bytes");
    assert!(
        esys.context()
            .last_error()
            .is_none_or(|e| e.kind() == ErrorKind::TryAgain)
    );
    // The transport comes back open.
    let tpm = esys.into_context().into_inner();
    let mut tpm = tpm.expect("it was not finalized");
    rusttcti_kit::tpm::ok(&mut *tpm, &rusttcti_kit::commands::get_random(16));
}
