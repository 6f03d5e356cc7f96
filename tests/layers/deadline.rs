// SPDX-License-Identifier: BSD-2-Clause
//! The layer deadline: a wait ends, and the late response harms no other command.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusttcti::layer::deadline::Deadline;
use rusttcti::transport::libtpms::Libtpms;
use rusttcti::{Cancel, Context, ErrorKind, Result, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::module::program;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{call, create_primary_rsa, ok};

/// The responses on their way: each comes when a test puts it there.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl Line {
    fn bring(&self, size: usize) {
        self.0.lock().unwrap().push_back(answer(size));
    }
}

impl Cancel for Line {
    /// As on a TPM, the cancelled command's response comes.
    fn cancel(&self) -> Result<()> {
        let canceled = [0x80, 1, 0, 0, 0, 10, 0, 0, 9, 9];
        self.0.lock().unwrap().push_back(canceled.to_vec());
        Ok(())
    }
}

/// A TPM at the end of such a line.
fn tpm(line: &Line) -> Scripted {
    let line = line.clone();
    Scripted {
        receive: Box::new(move |response, timeout| {
            let timeout = timeout.expect("never a wait for ever");
            let deadline = Instant::now() + timeout;
            loop {
                if let Some(bytes) = line.0.lock().unwrap().pop_front() {
                    return put(response, &bytes);
                }
                if Instant::now() >= deadline {
                    return Err(ErrorKind::TryAgain.into());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }),
        ..Scripted::default()
    }
}

fn limited(scripted: Scripted, ms: u64) -> Context<Deadline<Scripted>> {
    Context::new(Deadline::new(scripted, Duration::from_millis(ms)))
}

#[test]
fn a_wait_for_ever_ends_with_words_and_the_command_is_cancelled() {
    let line = Line::default();
    let mut scripted = tpm(&line);
    scripted.canceller = Some(Arc::new(line.clone()));
    let mut tpm = limited(scripted, 30);
    tpm.transmit(&get_random(16)).expect("sent");
    let begun = Instant::now();
    let error = tpm.receive(&mut [0; 4096], None).expect_err("no response");
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(error.kind(), ErrorKind::IoError);
    let told = "deadline: no response came within 30ms (ms= sets that); the command was cancelled";
    assert_eq!(error.to_string(), told);
    // The response that the cancel caused is thrown away, and the next command gets
    // its own.
    tpm.transmit(&get_random(16)).expect("sent");
    line.bring(28);
    assert_eq!(tpm.receive(&mut [0; 4096], None).expect("a response"), 28);
}

#[test]
fn a_late_response_is_never_taken_for_the_next_command_s() {
    let line = Line::default();
    let mut tpm = limited(tpm(&line), 20);
    tpm.transmit(&get_random(16)).expect("sent");
    let error = tpm.receive(&mut [0; 4096], None).expect_err("no response");
    assert!(error.to_string().contains("cannot cancel"), "{error}");
    // It is still on its way: no command is sent before it came.
    for _ in 0..2 {
        let error = tpm.transmit(&get_random(16)).expect_err("it is busy");
        assert_eq!(error.kind(), ErrorKind::IoError);
        assert!(error.to_string().contains("still busy"), "{error}");
    }
    line.bring(14);
    tpm.transmit(&get_random(16)).expect("sent");
    line.bring(28);
    assert_eq!(tpm.receive(&mut [0; 4096], None).expect("a response"), 28);
}

#[test]
fn a_shorter_timeout_of_the_programs_own_is_left_alone() {
    let line = Line::default();
    let mut tpm = limited(tpm(&line), 10_000);
    tpm.transmit(&get_random(16)).expect("sent");
    for timeout in [0, 5] {
        let timeout = Duration::from_millis(timeout);
        let error = tpm.receive(&mut [0; 4096], Some(timeout));
        assert_eq!(error.expect_err("nothing").kind(), ErrorKind::TryAgain);
    }
    line.bring(28);
    assert_eq!(tpm.receive(&mut [0; 4096], None).expect("it came"), 28);
}

#[test]
fn an_embedded_tpm_s_long_command_is_cancelled_and_the_next_one_works() {
    let tpm = Libtpms::builder().open().expect("a TPM");
    let mut tpm = Context::new(Deadline::new(tpm, Duration::from_millis(1)));
    tpm.transmit(&create_primary_rsa(2048)).expect("sent");
    let error = tpm.receive(&mut [0; 4096], None).expect_err("it is slow");
    assert!(error.to_string().ends_with("cancelled"), "{error}");
    // A key search looks for a cancel every now and then.
    let begun = Instant::now();
    while let Err(error) = tpm.transmit(&get_random(16)) {
        assert!(error.to_string().contains("still busy"), "{error}");
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut response = [0; 4096];
    let length = tpm.receive(&mut response, None).expect("its own");
    assert_eq!((length, response_code(&response[..28])), (28, 0));
}

#[test]
fn a_simulator_that_stands_still_costs_no_more_than_the_limit() {
    let swtpm = Swtpm::tcp();
    let chain = format!("deadline,ms=100:swtpm:{}", swtpm.conf());
    let mut tpm = Context::new(rusttcti::open(&chain).expect("a TPM"));
    ok(&mut tpm, &get_random(8));
    swtpm.pause();
    let failed = call(&mut tpm, &get_random(8));
    swtpm.resume();
    let error = failed.expect_err("it stands still");
    assert!(error.to_string().starts_with("deadline: "), "{error}");
    // Its own answer, of another length than the late one's.
    let begun = Instant::now();
    let response = loop {
        match call(&mut tpm, &get_random(24)) {
            Ok(response) => break response,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    assert_eq!(response.len(), 36);
}

#[test]
fn tpm2_tools_end_with_a_tpm_that_never_answers() {
    let output = program("tpm2_getrandom")
        .args(["-T", "rusttcti:deadline,ms=100:cmd:cat >/dev/null", "8"])
        .output()
        .expect("tpm2-tools run");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(told.contains("no response came within 100ms"), "{told}");
}

#[test]
fn its_limit_must_be_given() {
    let error = rusttcti::open("deadline:null").err().expect("refused");
    assert!(error.to_string().contains("needs ms=N"), "{error}");
    assert!(rusttcti::open("deadline,ms=0:null").is_err());
}
