// SPDX-License-Identifier: BSD-2-Clause
//! The kit's checks over the module, with each of our transports and layers, and over
//! tpm2-tss's modules, to see that the checks can fail.

use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::{Outcome, Report, Subject, check, check_only, module};

/// Our module with this chain.
fn ours(chain: &str) -> Subject {
    Subject::module(&format!("{}:{chain}", module::file().display())).expect("our module")
}

/// Asserts that nothing fails, and that checks which do not apply have a reason.
fn assert_conforms(report: &Report) {
    assert!(report.passed(), "{report}");
    for row in &report.rows {
        if let Outcome::NotApplicable(why) = &row.outcome {
            assert!(!why.is_empty(), "{}", row.check.name);
        }
    }
}

#[test]
fn embedded_tpms_conform() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state");
    assert_conforms(&check(&ours("libtpms")));
    assert_conforms(&check(&ours(&format!("libtpms:{}", file.display()))));
}

#[test]
fn swtpm_conforms_with_each_kind_of_connection_and_whatever_its_peer_does() {
    let (tcp, unix) = (Swtpm::tcp(), Swtpm::unix());
    let subject = ours(&format!("swtpm:{}", tcp.conf())).with_peers("swtpm:{}");
    assert_conforms(&check(&subject));
    assert_conforms(&check(&ours(&format!("swtpm:{}", unix.conf()))));
    let persistent = ours(&format!("swtpm:{},persistent=1", tcp.conf()));
    assert_conforms(&check(&persistent.with_peers("swtpm:{},persistent=1")));
}

#[test]
fn the_simulator_s_transport_conforms() {
    let simulator = Simulator::started();
    let subject = ours(&format!("mssim:{}", simulator.conf()));
    assert_conforms(&check(&subject.with_renewal(move || simulator.renew())));
}

#[test]
fn a_command_s_pipes_conform() {
    let swtpm = Swtpm::tcp();
    let relay = format!("cmd:exec tpm2_send -T swtpm:{}", swtpm.conf());
    assert_conforms(&check(&ours(&relay)));
}

#[test]
fn layers_conform() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log");
    for chain in [
        format!("pcap,file={}:libtpms", file.display()),
        "flush:libtpms".to_owned(),
    ] {
        assert_conforms(&check(&ours(&chain)));
    }
}

rusttcti_kit::conformance!(a_transport_in_rust_conforms_behind_the_bridge, || {
    rusttcti::open("libtpms")
});

#[test]
fn the_checks_find_what_other_modules_break() {
    let swtpm = Swtpm::tcp();
    let theirs = Subject::module(&format!("swtpm:{}", swtpm.conf())).expect("tpm2-tss's module");
    let report = check_only(
        &theirs,
        &["finalize-twice", "timeout-below", "a-command-is"],
    );
    let words: Vec<_> = report.rows.iter().map(|row| row.outcome.word()).collect();
    // A double free, a timeout that is not looked at; but it does answer commands.
    assert_eq!(words, ["pass", "fail", "fail"], "{report}");
    assert!(!report.passed());
    assert!(
        report.to_string().contains("1 passed, 2 failed"),
        "{report}"
    );
    assert!(report.to_json().contains("\"outcome\": \"fail\""));
}
