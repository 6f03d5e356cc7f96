// SPDX-License-Identifier: BSD-2-Clause
//! The transport replay: recordings of the layer pcap answer in place of a TPM.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rusttcti::transport::replay::Replay;
use rusttcti::{Context, ErrorKind, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::module::program;
use rusttcti_kit::poll::polls;
use rusttcti_kit::proc::printed;
use rusttcti_kit::tpm::{DEBUG_PCR, call, ok, pcr_extend, pcr_read};
use tempfile::TempDir;

/// Runs one of tpm2-tools in a folder.
fn tool(folder: &Path, tcti: &str, arguments: &[&str]) -> Output {
    program(arguments[0])
        .args(&arguments[1..])
        .env("TPM2TOOLS_TCTI", tcti)
        .current_dir(folder)
        .output()
        .expect("tpm2-tools run")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// The programs' output, and the files that they made (those that end in .out).
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    printed: Vec<String>,
    files: Vec<Vec<u8>>,
}

/// Runs some of tpm2-tools, one after the other.
fn outcome(folder: &Path, tcti: &str, commands: &[&[&str]]) -> Outcome {
    let run = |arguments: &&[&str]| printed(tool(folder, tcti, arguments));
    let printed = commands.iter().map(run).collect();
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "out"))
        .collect();
    names.sort();
    let read = |name| std::fs::read(name).expect("a file");
    let files = names.into_iter().map(read).collect();
    Outcome { printed, files }
}

/// Records some programs over a TPM, and replays them without one.
fn recorded_and_replayed(recorder: &str, commands: &[&[&str]]) {
    let (one, other) = (folder(), folder());
    let recorded = outcome(one.path(), recorder, commands);
    let recording = one.path().join("tpm.pcapng");
    let replay = format!("rusttcti:replay:{}", recording.display());
    assert_eq!(outcome(other.path(), &replay, commands), recorded);
    assert!(!recorded.files.is_empty(), "there are files to compare");
}

const CREATE: &[&[&str]] = &[
    &["tpm2_createprimary", "-c", "primary.out"],
    &[
        "tpm2_create",
        "-C",
        "primary.out",
        "-u",
        "public.out",
        "-r",
        "private.out",
    ],
];

#[test]
fn a_key_and_its_child_are_made_again_without_a_tpm() {
    // A state file, so that the second program finds the TPM of the first.
    recorded_and_replayed("rusttcti:pcap,file=tpm.pcapng:libtpms:state", CREATE);
}

#[test]
fn a_recording_of_tpm2_tss_s_own_module_is_replayed_as_well() {
    let folder = folder();
    let record = |arguments: &[&str]| {
        let output = program(arguments[0])
            .args(&arguments[1..])
            .env("TCTI_PCAP_FILE", "tpm.pcapng")
            .args(["-T", "pcap:rusttcti:libtpms"])
            .current_dir(folder.path())
            .output();
        printed(output.expect("tpm2-tools run"))
    };
    let recorded = record(&["tpm2_getrandom", "--hex", "16"]);
    let replay = ["tpm2_getrandom", "--hex", "16"];
    let replayed = tool(folder.path(), "rusttcti:replay:tpm.pcapng", &replay);
    assert_eq!(printed(replayed), recorded);
}

#[test]
fn policies_and_nv_indexes_are_replayed() {
    recorded_and_replayed(
        "rusttcti:pcap,file=tpm.pcapng:libtpms:state",
        &[
            &["tpm2_startauthsession", "-S", "session.ctx"],
            &[
                "tpm2_policypcr",
                "-S",
                "session.ctx",
                "-l",
                "sha256:16",
                "-L",
                "policy.out",
            ],
            &["tpm2_flushcontext", "session.ctx"],
            &["tpm2_nvdefine", "-C", "o", "-s", "32", "0x1500016"],
            &["tpm2_nvwrite", "-C", "o", "-i", "policy.out", "0x1500016"],
            &["tpm2_nvread", "-C", "o", "-o", "nv.out", "0x1500016"],
            &["tpm2_pcrread", "sha256:0,16"],
        ],
    );
}

#[test]
fn a_session_with_a_key_is_told_where_it_cannot_be_replayed() {
    let folder = folder();
    let recorder = "rusttcti:pcap,file=tpm.pcapng:libtpms:state";
    let commands: &[&[&str]] = &[
        &[
            "tpm2_createprimary",
            "-Q",
            "-c",
            "primary.ctx",
            "-p",
            "secret",
        ],
        &[
            "tpm2_create",
            "-Q",
            "-C",
            "primary.ctx",
            "-P",
            "session:s.ctx+secret",
            "-c",
            "key.ctx",
        ],
    ];
    printed(tool(folder.path(), recorder, commands[0]));
    let session = ["tpm2_startauthsession", "--hmac-session", "-S", "s.ctx"];
    printed(tool(folder.path(), recorder, &session));
    printed(tool(folder.path(), recorder, commands[1]));
    let replay = "rusttcti:replay:tpm.pcapng";
    printed(tool(folder.path(), replay, commands[0]));
    printed(tool(folder.path(), replay, &session));
    let output = tool(folder.path(), replay, commands[1]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(told.contains("of this CreateLoaded has a key"), "{told}");
}

/// A recording of two commands, GetRandom(8) and PCR_Extend.
fn recording(folder: &TempDir) -> std::path::PathBuf {
    let file = folder.path().join("tpm.pcapng");
    let chain = format!("pcap,file={}:libtpms", file.display());
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    ok(&mut *tpm, &get_random(8));
    ok(&mut *tpm, &pcr_extend(DEBUG_PCR, 1));
    file
}

#[test]
fn a_command_that_differs_is_told_with_the_first_difference_and_harms_nothing() {
    let folder = folder();
    let file = recording(&folder);
    let mut tpm = Context::new(Replay::open(&file).expect("a recording"));
    for (command, told) in [
        (
            get_random(9),
            "GetRandom differs from byte 11 on, in parameter byte 1: recorded 08, sent 09",
        ),
        (
            pcr_extend(DEBUG_PCR, 1),
            "PCR_Extend was sent, and GetRandom was recorded",
        ),
    ] {
        let error = call(&mut tpm, &command).expect_err("it differs");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(error.to_string().contains(told), "{error}");
        assert!(error.to_string().contains("command 1 "), "{error}");
        assert!(error.to_string().contains("tpm.pcapng"), "{error}");
    }
    assert_eq!(ok(&mut tpm, &get_random(8)).len(), 20);
    let error = call(&mut tpm, &pcr_extend(DEBUG_PCR, 2)).expect_err("it differs");
    assert!(error.to_string().contains("in parameter byte 6"), "{error}");
    let error = call(&mut tpm, &pcr_extend(8, 1)).expect_err("it differs");
    assert!(
        error.to_string().contains("the handle pcrHandle"),
        "{error}"
    );
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
}

#[test]
fn the_end_of_the_recording_is_an_error_in_words() {
    let folder = folder();
    let file = recording(&folder);
    let mut tpm = Context::new(Replay::open(&file).expect("a recording"));
    ok(&mut tpm, &get_random(8));
    ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    let error = call(&mut tpm, &get_random(8)).expect_err("the end");
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    let told = "the recording ends after 2 commands, before this GetRandom";
    assert!(error.to_string().ends_with(told), "{error}");
}

#[test]
fn match_code_asks_for_the_command_code_alone() {
    let folder = folder();
    let file = recording(&folder);
    let chain = format!("replay:{},match=code", file.display());
    let mut tpm = rusttcti::open(&chain).expect("a recording");
    assert_eq!(ok(&mut *tpm, &get_random(16)).len(), 20, "as recorded");
    assert!(call(&mut *tpm, &get_random(16)).is_err());
    ok(&mut *tpm, &pcr_extend(DEBUG_PCR, 7));
}

#[test]
fn a_context_takes_the_first_conversation_that_fits_all_of_its_commands() {
    let folder = folder();
    let file = folder.path().join("tpm.pcapng");
    let chain = format!("pcap,file={}:libtpms", file.display());
    let mut values = Vec::new();
    for byte in [1, 2] {
        let mut tpm = rusttcti::open(&chain).expect("a TPM");
        ok(&mut *tpm, &pcr_extend(DEBUG_PCR, 9));
        ok(&mut *tpm, &pcr_extend(DEBUG_PCR, byte));
        values.push(pcr_read(&mut *tpm, DEBUG_PCR));
    }
    for (byte, value) in [2, 1].into_iter().zip(values.iter().rev()) {
        let mut tpm = Replay::open(&file).expect("a recording");
        ok(&mut tpm, &pcr_extend(DEBUG_PCR, 9));
        ok(&mut tpm, &pcr_extend(DEBUG_PCR, byte));
        assert_eq!(&pcr_read(&mut tpm, DEBUG_PCR), value);
    }
}

#[test]
fn a_command_whose_response_is_not_in_the_recording_fails_and_the_next_goes_on() {
    let folder = folder();
    let file = folder.path().join("tpm.pcapng");
    // The response is lost above the recorder of commands, and below it.
    let chain = format!(
        "deadline,ms=50:pcap,file={}:fault,nth=1,drop:libtpms",
        file.display()
    );
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    assert!(call(&mut *tpm, &get_random(8)).is_err());
    let second = ok(&mut *tpm, &get_random(8));
    let mut tpm = Context::new(Replay::open(&file).expect("a recording"));
    let error = call(&mut tpm, &get_random(8)).expect_err("it has none");
    assert!(
        error.to_string().contains("no response to this command"),
        "{error}"
    );
    assert_eq!(ok(&mut tpm, &get_random(8)), second);
}

#[test]
fn it_polls_cancels_and_takes_localities_as_programs_expect() {
    let folder = folder();
    let mut tpm = Replay::open(recording(&folder)).expect("a recording");
    assert!(!polls(&mut tpm, Duration::ZERO));
    tpm.set_locality(2).expect("any");
    tpm.reset().expect("no power to lose");
    tpm.transmit(&get_random(8)).expect("sent");
    assert!(polls(&mut tpm, PATIENCE));
    tpm.canceller().expect("one").cancel().expect("too late");
    let mut response = [0; 4096];
    let length = tpm.receive(&mut response, Some(Duration::ZERO));
    assert_eq!(response_code(&response[..length.expect("it")]), 0);
    assert!(!polls(&mut tpm, Duration::ZERO));
}

#[test]
fn what_is_no_recording_is_told_with_the_file_and_a_remedy() {
    let folder = folder();
    let file = folder.path().join("x");
    let refused = |conf: &str| {
        let error = rusttcti::open(&format!("replay{conf}")).err();
        error.expect("refused").report()
    };
    let path = format!(":{}", file.display());
    assert!(refused(&path).contains("cannot read the recording"));
    std::fs::write(&file, "no recording").expect("a file");
    assert!(refused(&path).contains("the layer pcap makes one"));
    assert!(refused("").contains("needs the recording"));
    assert!(refused(":x,match=loose").contains("strict or code"));
}
