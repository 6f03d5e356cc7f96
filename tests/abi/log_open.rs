// SPDX-License-Identifier: BSD-2-Clause
//! The log at the level info: one line for each transport that was opened, and a
//! warning about a mistake in TSS2_LOG.

use std::path::Path;
use std::process::Command;

use rusttcti::open;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::ok;

/// The variable that gives a scene its chain.
const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

fn chain() -> String {
    std::env::var(CHAIN).expect("a chain")
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_open() {
    drop(open(&chain()).unwrap_or_else(|error| panic!("{}", error.report())));
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_open_twice() {
    let both = [open(&chain()), open(&chain())];
    assert!(both.iter().all(Result::is_ok));
}

/// Ends as by a power loss, with the TPM open.
#[test]
#[ignore = "a scene of other tests"]
fn scene_crash() {
    let mut tcti = open(&chain()).expect("a TPM");
    ok(&mut *tcti, &get_random(8));
    std::process::abort();
}

fn lines_of(command: &mut Command) -> Vec<String> {
    let text = String::from_utf8(again::played(command).stderr).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// What the lines say of what was opened, without level and time.
fn opened(command: &mut Command, chain: &str) -> Vec<String> {
    let lines = lines_of(command.env("TSS2_LOG", "tcti+info").env(CHAIN, chain));
    let told = |line: &String| {
        let (head, text) = line.split_once("() ").expect("a function's name");
        assert!(head.starts_with("INFO:tcti:src/"), "{line}");
        let version = concat!("rusttcti ", env!("CARGO_PKG_VERSION"), " opened ");
        let text = text.strip_prefix(version).expect("the version");
        let text = text.strip_suffix(" ms ").expect("a time");
        let (what, time) = text.rsplit_once(" in ").expect("a time");
        assert!(time.parse::<f64>().is_ok(), "{line}");
        what.to_owned()
    };
    // tctildr's own lines begin in lower case.
    let ours = lines.iter().filter(|line| !line.starts_with("info:tcti:"));
    ours.map(told).collect()
}

#[test]
fn one_line_at_info_tells_the_version_the_transport_the_peer_and_the_time() {
    let (tcp, unix, simulator) = (Swtpm::tcp(), Swtpm::unix(), Simulator::tcp());
    let conf = simulator.conf();
    let (_, port) = conf.split_once("port=").expect("a port");
    let path = unix.conf().replace("path=", "");
    for (chain, what) in [
        (
            format!("swtpm:{}", tcp.conf()),
            format!("swtpm at localhost:{}", tcp.port()),
        ),
        (
            format!("swtpm:{},persistent=1", unix.conf()),
            format!("swtpm at {path}, over one connection (persistent=1)"),
        ),
        (
            format!("mssim:{}", simulator.conf()),
            format!("mssim at 127.0.0.1:{port}"),
        ),
        ("retry:cmd:cat".into(), "cmd: the command \"cat\"".into()),
        (
            format!("libtss2-tcti-swtpm.so.0:{}", tcp.conf()),
            "the C module \"libtss2-tcti-swtpm.so.0\"".into(),
        ),
    ] {
        assert_eq!(opened(&mut again::only!("scene_open"), &chain), [what]);
    }
    let lines = lines_of(again::only!("scene_open").env(CHAIN, "libtpms"));
    assert!(lines.is_empty(), "not asked for: {lines:#?}");
}

#[test]
fn an_embedded_tpm_s_line_tells_which_libtpms_and_how_the_tpm_s_life_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("my.tpm");
    let chain = format!("libtpms:{}", file.display());
    let mut lines = opened(&mut again::only!("scene_open"), "libtpms");
    lines.extend(opened(&mut again::only!("scene_open"), &chain));
    lines.extend(opened(&mut again::only!("scene_open_twice"), &chain));
    let crashed = again::only!("scene_crash").env(CHAIN, &chain).output();
    assert!(!crashed.expect("it runs").status.success());
    lines.extend(opened(&mut again::only!("scene_open"), &chain));
    let copy = format!("libtpms-copy:{}", file.display());
    lines.extend(opened(&mut again::only!("scene_open"), &copy));

    let of_file = format!(
        "libtpms: the TPM of the state file \"{}\", ",
        file.display()
    );
    let expected = [
        "libtpms: a TPM in memory, made anew".to_owned(),
        format!("{of_file}made anew"),
        format!("{of_file}resumed"),
        format!("{of_file}shared with another context"),
        format!("{of_file}started after a power loss (the file was not closed cleanly)"),
        "libtpms: a TPM in memory, resumed".to_owned(),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(&expected) {
        let (beginning, library) = line.split_once(", by libtpms ").unwrap_or((line, ""));
        assert_eq!(beginning, expected);
        let is_shared = expected.ends_with("context");
        assert_eq!(library.is_empty(), is_shared, "{line}");
        if let Some((version, file)) = library.split_once(" (\"") {
            assert!(version.starts_with("0."), "{line}");
            let file = Path::new(file.trim_end_matches("\")"));
            assert!(file.is_file(), "{line}");
        } else {
            assert!(is_shared, "{line}");
        }
    }
}

#[test]
fn a_mistake_in_tss2_log_is_told_once_with_the_levels_there_are() {
    for (pairs, told, level) in [
        (
            "tcti+loud",
            "\"loud\" in \"tcti+loud\" is not a level",
            "WARNING",
        ),
        ("tcti+error,debug", "\"debug\" is no pair", "ERROR"),
    ] {
        let mut command = again::only!("scene_open_twice");
        let lines = lines_of(command.env("TSS2_LOG", pairs).env(CHAIN, "libtpms"));
        let expected = usize::from(level == "WARNING");
        assert_eq!(lines.len(), expected, "{pairs}: {lines:#?}");
        if let [line] = &lines[..] {
            assert!(line.starts_with("WARNING:tcti:"), "{line}");
            assert!(line.contains(told), "{line}");
            assert!(
                line.contains("NONE, ERROR, WARNING, INFO, DEBUG, TRACE"),
                "{line}"
            );
            assert!(
                line.contains(&format!("the level here is {level}")),
                "{line}"
            );
        }
    }
}
