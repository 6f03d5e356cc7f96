// SPDX-License-Identifier: BSD-2-Clause
//! The layers reset and startup, from a shell.

use rusttcti::ErrorKind;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::module::program;
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::proc::printed;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{DEBUG_PCR, call, ok, pcr_extend, pcr_read};

/// The value of PCR 16, as tpm2_pcrread prints it.
fn pcr_16(tcti: &str) -> String {
    let read = program("tpm2_pcrread")
        .args(["-T", tcti, "sha256:16"])
        .output();
    let text = printed(read.expect("tpm2-tools run"));
    let (_, value) = text.split_once("16: 0x").expect("a value");
    value.trim().to_owned()
}

#[test]
fn reset_power_cycles_an_embedded_tpm_from_a_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    let tpm = format!("libtpms:{}/state", folder.path().display());
    let extend = format!("16:sha256={}", "ab".repeat(32));
    let extended = program("tpm2_pcrextend")
        .args(["-T", &format!("rusttcti:{tpm}"), &extend])
        .output();
    printed(extended.expect("tpm2-tools run"));
    let before = pcr_16(&format!("rusttcti:{tpm}"));
    assert_ne!(before, "0".repeat(64));
    assert_eq!(
        pcr_16(&format!("rusttcti:{tpm}")),
        before,
        "it is suspended"
    );
    assert_eq!(pcr_16(&format!("rusttcti:reset:{tpm}")), "0".repeat(64));
}

#[test]
fn startup_after_reset_starts_a_simulator() {
    let swtpm = Swtpm::unix();
    let mut tpm = rusttcti::open(&format!("swtpm:{}", swtpm.conf())).expect("a TPM");
    ok(&mut *tpm, &pcr_extend(DEBUG_PCR, 7));
    drop(tpm);
    let chain = format!("startup:reset:swtpm:{}", swtpm.conf());
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    assert_eq!(pcr_read(&mut *tpm, DEBUG_PCR), [0; 32]);
}

#[test]
fn startup_leaves_a_tpm_that_runs_as_it_is() {
    let mut tpm = rusttcti::open("startup:startup:libtpms").expect("a TPM");
    ok(&mut *tpm, &get_random(8));
    let swtpm = Swtpm::tcp();
    let bare = format!("swtpm:{}", swtpm.conf());
    ok(
        &mut *rusttcti::open(&bare).expect("a TPM"),
        &pcr_extend(DEBUG_PCR, 7),
    );
    let mut tpm = rusttcti::open(&format!("startup:{bare}")).expect("a TPM");
    assert_ne!(pcr_read(&mut *tpm, DEBUG_PCR), [0; 32]);
}

#[test]
fn startup_starts_a_simulator_that_was_just_switched_on() {
    let simulator = Simulator::tcp();
    let chain = format!("mssim:{}", simulator.conf());
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    let unstarted = call(&mut *tpm, &get_random(8)).expect("a response");
    assert_eq!(response_code(&unstarted), 0x100, "TPM_RC_INITIALIZE");
    drop(tpm);
    let mut tpm = rusttcti::open(&format!("startup:{chain}")).expect("a TPM");
    ok(&mut *tpm, &get_random(8));
}

#[test]
fn where_there_is_no_power_to_cycle_that_is_an_error_that_names_the_layer() {
    let error = rusttcti::open("reset:null").err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::NotImplemented);
    assert!(error.to_string().contains("the layer reset"), "{error}");
    let error = rusttcti::open("startup:null").err().expect("refused");
    assert!(error.to_string().contains("the layer startup"), "{error}");
}

/// What tpm2_getrandom prints that cannot open this chain.
fn refusal(chain: &str) -> String {
    let mut command = program("tpm2_getrandom");
    let output = command.args(["-T", &format!("rusttcti:{chain}"), "--hex", "8"]);
    let output = output.output().expect("tpm2-tools run");
    assert!(!output.status.success(), "{chain}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn each_failure_to_open_is_an_error_in_the_log_whatever_its_code() {
    let text = refusal("reset:null");
    let told = text.lines().any(|line| {
        line.starts_with("ERROR:tcti:src/") && line.contains("the layer reset cannot power-cycle")
    });
    assert!(told, "{text}");
}

#[test]
fn a_tpm_that_is_silent_while_a_layer_is_opened_is_told_of_and_named_at_the_end() {
    let refusals = ["rm", "flush"].map(|layer| {
        let refused = move || refusal(&format!("{layer}:cmd:exec sleep 60"));
        (layer, std::thread::spawn(refused))
    });
    for (layer, refused) in refusals {
        let text = refused.join().expect("it ends");
        let has = |level: &str, words: &str| {
            text.lines()
                .any(|line| line.starts_with(level) && line.contains(words))
        };
        assert!(has("WARNING:tcti", "for 5 s"), "{layer}: {text}");
        assert!(has("ERROR:tcti", "within 10 s"), "{layer}: {text}");
    }
}
