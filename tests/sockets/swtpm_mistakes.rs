// SPDX-License-Identifier: BSD-2-Clause
//! The errors for common mistakes in swtpm's options and in its address.

use rusttcti::{ErrorKind, open};
use rusttcti_kit::again;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::{STARTUP, call};

/// The variable that gives a scene its chain.
const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

/// Three commands to the TPM at the end of the chain: two of GetRandom, one Startup.
#[test]
#[ignore = "a scene of other tests"]
fn scene_commands() {
    let chain = std::env::var(CHAIN).expect("a chain");
    let mut tcti = open(&chain).expect("swtpm is there");
    for command in [&get_random(8)[..], &get_random(8), &STARTUP] {
        call(&mut *tcti, command).expect("a response");
    }
}

/// The lines that the scene writes to the log.
fn lines_of(chain: &str) -> Vec<String> {
    let output = again::played(again::only!("scene_commands").env(CHAIN, chain));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_control_channel_in_the_data_channel_s_place_is_told_with_the_data_channel() {
    let (tcp, unix) = (Swtpm::tcp(), Swtpm::unix());
    let port = tcp.port();
    for (control, data) in [
        (format!("port={}", port + 1), format!("port={port}")),
        (format!("{}.ctrl", unix.conf()), unix.conf()),
    ] {
        for persistent in ["", ",persistent=1"] {
            let mut tcti = open(&format!("swtpm:{control}{persistent}")).expect("it listens");
            let error = call(&mut *tcti, &get_random(8)).expect_err("no TPM");
            assert_eq!(error.kind(), ErrorKind::MalformedResponse);
            let text = error.to_string();
            let told = format!(
                "is a control channel, which takes no TPM commands (its data channel is \
                 probably \"{data}\")"
            );
            assert!(text.contains(&told), "{text}");
        }
    }
}

#[test]
fn a_swtpm_that_was_not_initialized_is_told_with_the_flag_that_it_lacks() {
    let swtpm = Swtpm::tcp_with(None, "");
    let lines = lines_of(&format!("swtpm:{}", swtpm.conf()));
    let [line] = &lines[..] else {
        panic!("one line: {lines:#?}")
    };
    assert!(line.starts_with("WARNING:tcti:"), "{line}");
    assert!(line.contains("TPM_RC_FAILURE (0x101)"), "{line}");
    assert!(
        line.contains("--flags not-need-init,startup-clear"),
        "{line}"
    );
}

#[test]
fn a_swtpm_without_a_startup_is_told_with_the_flag_and_the_layer_and_not_for_a_second_startup() {
    let swtpm = Swtpm::tcp_with(Some("not-need-init"), "");
    let conf = swtpm.conf();
    let lines = lines_of(&format!("swtpm:{conf}"));
    let [line] = &lines[..] else {
        panic!("one line: {lines:#?}")
    };
    assert!(line.contains("TPM_RC_INITIALIZE (0x100)"), "{line}");
    assert!(line.contains("rusttcti:startup:swtpm"), "{line}");
    // It is started now, and Startup answers with the same code.
    assert_eq!(lines_of(&format!("swtpm:{conf}")), [] as [&str; 0]);
    assert_eq!(lines_of(&format!("startup:swtpm:{conf}")), [] as [&str; 0]);
}

#[test]
fn a_kept_connection_to_a_swtpm_that_disconnects_is_told_with_the_option() {
    let swtpm = Swtpm::tcp_with(Some("not-need-init,startup-clear"), ",disconnect");
    let mut tcti = open(&format!("swtpm:{},persistent=1", swtpm.conf())).expect("swtpm");
    // swtpm closes after each response. A command that is sent before that is seen is lost.
    let error = (0..1000).find_map(|_| call(&mut *tcti, &get_random(8)).err());
    let text = error.expect("swtpm disconnects").to_string();
    assert!(text.contains("--server ...,disconnect"), "{text}");
    assert!(text.contains("leave persistent=1 out"), "{text}");

    let mut tcti = open(&format!("swtpm:{}", swtpm.conf())).expect("swtpm");
    for _ in 0..10 {
        let response = call(&mut *tcti, &get_random(8)).expect("a response");
        assert_eq!(response_code(&response), 0);
    }
}
