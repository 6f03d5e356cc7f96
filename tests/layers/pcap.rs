// SPDX-License-Identifier: BSD-2-Clause
//! The layer pcap: its recordings, their files, and failures to write.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusttcti::layer::pcap::Pcap;
use rusttcti::{Cancel, Error, ErrorKind, PollHandle, Result, Tcti};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::module::program;
use rusttcti_kit::scripted::{Scripted, answer, put};
use rusttcti_kit::tshark::{self, Packet};

const COMMAND: &str = "Command TPM2_CC_GetRandom, len(12)";

/// One command and its response.
fn round_trip(tcti: &mut impl Tcti) -> Vec<u8> {
    let mut response = vec![0; 16384];
    tcti.transmit(&get_random(16)).expect("sent");
    let length = tcti.receive(&mut response, None).expect("answered");
    response.truncate(length);
    response
}

fn infos(packets: &[Packet]) -> Vec<&str> {
    packets.iter().map(|packet| packet.info.as_str()).collect()
}

#[test]
fn tshark_reads_a_recording_as_tpm_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    let before = SystemTime::now();
    let mut recorded = Pcap::new(Scripted::default(), &path).expect("a layer");
    let response = round_trip(&mut recorded);
    let after = SystemTime::now();

    // Not finalized: what was recorded is there all the same.
    let packets = tshark::read(&path);
    assert_eq!(packets.len(), 2);
    let [command, answered] = [&packets[0], &packets[1]];
    assert!(command.info.contains(COMMAND), "{}", command.info);
    assert!(
        answered
            .info
            .contains("Response Code TPM2 Success, len(28)"),
        "{}",
        answered.info
    );
    assert_eq!((command.from_port, command.to_port), (50000, 2321));
    assert_eq!((answered.from_port, answered.to_port), (2321, 50000));
    assert_eq!(command.from, answered.to);
    assert_eq!(command.to, answered.from);
    assert_eq!(command.payload, get_random(16));
    assert_eq!(answered.payload, response);
    for packet in &packets {
        let time = UNIX_EPOCH + packet.time;
        let slack = Duration::from_millis(1); // the file has microseconds, tshark prints them
        assert!(before - slack <= time && time <= after + slack, "{time:?}");
    }
}

#[test]
fn recordings_are_appended_to_a_file_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    for _ in 0..2 {
        round_trip(&mut Pcap::new(Scripted::default(), &path).expect("a layer"));
    }
    // One around another, into the same file at the same time.
    let inner = Pcap::new(Scripted::default(), &path).expect("a layer");
    let mut nested = Pcap::new(inner, &path).expect("a layer");
    round_trip(&mut nested);
    round_trip(&mut nested);

    let packets = tshark::read(&path);
    assert_eq!(packets.len(), 2 + 2 + 8);
    assert!(
        packets.iter().all(|packet| packet.info.contains("TPM ")),
        "{:?}",
        infos(&packets)
    );
    let mut hosts: Vec<_> = packets
        .iter()
        .filter(|packet| packet.to_port == 2321)
        .map(|packet| packet.from.clone())
        .collect();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), 4, "one address for each recording");
}

#[test]
fn a_response_is_recorded_once_when_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    let mut looks = 0;
    let slow = Scripted {
        receive: Box::new(move |response, _| {
            looks += 1;
            if looks < 3 {
                return Err(ErrorKind::TryAgain.into());
            }
            put(response, &answer(20))
        }),
        ..Scripted::default()
    };
    let mut recorded = Pcap::new(slow, &path).expect("a layer");
    recorded.transmit(&get_random(16)).expect("sent");
    for _ in 0..2 {
        let early = recorded.receive(&mut [0; 4096], Some(Duration::ZERO));
        assert_eq!(
            early.expect_err("not there yet").kind(),
            ErrorKind::TryAgain
        );
        assert_eq!(tshark::read(&path).len(), 1);
    }
    assert_eq!(
        recorded.receive(&mut [0; 4096], None).expect("a response"),
        20
    );
    assert_eq!(tshark::read(&path).len(), 2);
}

#[test]
fn a_command_that_cannot_be_sent_is_recorded_and_its_failure_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    let unplugged = Scripted {
        transmit: Box::new(|_| Err(Error::new(ErrorKind::NoConnection, "unplugged"))),
        ..Scripted::default()
    };
    let mut recorded = Pcap::new(unplugged, &path).expect("a layer");
    let error = recorded.transmit(&get_random(16)).expect_err("unplugged");
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NoConnection, "unplugged")
    );
    let packets = tshark::read(&path);
    assert_eq!(packets.len(), 1);
    assert!(packets[0].info.contains(COMMAND));
}

#[test]
fn all_else_reaches_the_child_and_nothing_is_recorded() {
    struct Stop;
    impl Cancel for Stop {
        fn cancel(&self) -> Result<()> {
            Err(Error::new(ErrorKind::NotSupported, "reached"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tpm.pcapng");
    let child = Scripted {
        canceller: Some(Arc::new(Stop)),
        poll_handles: Box::new(|()| Ok(vec![PollHandle::readable(77)])),
        set_locality: Box::new(|locality| {
            Err(Error::new(
                ErrorKind::BadValue,
                format!("locality {locality}"),
            ))
        }),
        make_sticky: Box::new(|(handle, sticky)| Ok(handle + u32::from(sticky))),
        ..Scripted::default()
    };
    let log = child.log.clone();
    let mut recorded = Pcap::new(child, &path).expect("a layer");
    let canceller = recorded.canceller().expect("the child's");
    assert_eq!(
        canceller.cancel().expect_err("reached").to_string(),
        "reached"
    );
    assert_eq!(recorded.poll_handles().unwrap(), [PollHandle::readable(77)]);
    assert_eq!(
        recorded.set_locality(4).expect_err("refused").to_string(),
        "locality 4"
    );
    assert_eq!(recorded.make_sticky(6, true).unwrap(), 7);
    recorded.reset().unwrap();
    recorded.finalize().unwrap();
    assert_eq!(
        log.calls(),
        [
            "poll_handles",
            "set_locality",
            "make_sticky",
            "reset",
            "finalize"
        ]
    );
    assert_eq!(tshark::read(&path).len(), 0);
}

/// The flags of each descriptor that this process has of `path`.
fn descriptors_of(path: &Path) -> Vec<(i32, u32)> {
    let fds = fs::read_dir("/proc/self/fd").unwrap();
    fds.filter_map(|entry| {
        let entry = entry.unwrap();
        let target = fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_str()?.to_owned();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        (target == path).then(|| (number.parse().unwrap(), flags))
    })
    .collect()
}

#[test]
fn the_file_is_its_users_alone_not_inherited_and_closed_by_finalize() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("tpm.pcapng");
    let mut recorded = Pcap::new(Scripted::default(), &path).expect("a layer");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let open = descriptors_of(&path);
    assert_eq!(open.len(), 1);
    assert!(open[0].0 > 2);
    assert_ne!(open[0].1 & 0o2_000_000, 0, "O_CLOEXEC in {:o}", open[0].1);
    recorded.finalize().unwrap();
    assert_eq!(descriptors_of(&path), []);
}

#[test]
fn a_file_that_cannot_be_written_is_a_clear_error_and_closes_the_child() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none/tpm.pcapng");
    for (path, says) in [
        (Path::new("/dev/full"), "No space left"),
        (folder.path(), "Is a directory"),
        (&nowhere, "does its folder exist?"),
    ] {
        let child = Scripted::default();
        let log = child.log.clone();
        let error = Pcap::new(child, path).err().expect("cannot be written");
        let text = error.report();
        assert_eq!(error.kind(), ErrorKind::IoError, "{text}");
        assert!(
            text.contains(says) && text.contains(path.to_str().unwrap()),
            "{text}"
        );
        assert_eq!(log.calls(), ["finalize", "drop"]);
    }
}

#[test]
fn options_that_make_no_sense_are_named() {
    for (chain, says) in [
        ("pcap,file=:null", "file= names no file"),
        ("pcap,path=/nowhere:null", "\"path\" (its options: file)"),
    ] {
        let error = rusttcti::open(chain).err().expect(chain);
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(error.report().contains(says), "{}", error.report());
    }
}

/// If the file takes no bytes, as on a full disk, commands go on. Once there is
/// room again, the recording goes on too, and is well-formed.
#[test]
fn commands_go_on_while_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = Command::new("mkfifo")
        .arg(&path)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut reader = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(&path)
        .expect("a reader");

    let large = Scripted {
        // More than a page of the pipe's, so that it can be cut off.
        receive: Box::new(|response, _| put(response, &answer(9000))),
        ..Scripted::default()
    };
    let mut recorded = Pcap::new(large, &path).expect("a layer");
    let mut recording = Vec::new();
    for _ in 0..3 {
        for _ in 0..40 {
            assert_eq!(round_trip(&mut recorded).len(), 9000);
        }
        // WouldBlock is the end of what was written so far.
        let end = reader
            .read_to_end(&mut recording)
            .expect_err("still open for writing");
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
    }
    // One more write, of what was cut off and what comes next.
    round_trip(&mut recorded);
    recorded.finalize().expect("closed");
    reader.read_to_end(&mut recording).expect("the end");

    let file = folder.path().join("read.pcapng");
    fs::write(&file, recording).unwrap();
    let packets = tshark::read(&file);
    let written = packets.len();
    assert!(
        30 < written && written < 200,
        "{written} of 242 packets fit into a pipe"
    );
    for packet in &packets {
        let size = if packet.to_port == 2321 { 12 } else { 9000 };
        assert_eq!(packet.payload.len(), size);
    }
}

fn getrandom(chain: &str) -> Command {
    let mut command = program("tpm2_getrandom");
    command.args(["-T", chain, "--hex", "8"]);
    command
}

fn first_command(path: &Path) -> String {
    tshark::read(path)[0].info.clone()
}

#[test]
fn the_file_is_the_option_s_else_the_variable_s_else_tpm2_log() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |chain: &str, variable: Option<&str>| {
        let mut command = getrandom(chain);
        command.current_dir(folder.path()).stderr(Stdio::null());
        if let Some(name) = variable {
            command.env("TCTI_PCAP_FILE", name);
        }
        let mut child = command.spawn().expect("tpm2_getrandom runs");
        // The null transport refuses; the command is recorded all the same.
        assert!(!child.wait().expect("it ends").success());
        child.id()
    };
    let expect = |name: &str| {
        let path = folder.path().join(name);
        let info = first_command(&path);
        assert!(info.contains("Command TPM2_CC_"), "{name}: {info}");
        fs::remove_file(&path).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{name} and nothing else"
        );
    };

    in_folder(
        "rusttcti:pcap,file=option.pcapng:null",
        Some("variable.pcapng"),
    );
    expect("option.pcapng");
    in_folder("rusttcti:pcap,file=a\\,b\\:c:null", None);
    expect("a,b:c");
    in_folder("rusttcti:pcap:null", Some("variable.pcapng"));
    expect("variable.pcapng");
    in_folder("rusttcti:pcap:null", None);
    expect("tpm2_log.pcap");
    in_folder("rusttcti:pcap:null", Some(""));
    expect("tpm2_log.pcap");
    let pid = in_folder("rusttcti:pcap:null", Some("tpm-%p.pcapng"));
    expect(&format!("tpm-{pid}.pcapng"));
}

#[test]
fn a_minus_is_standard_output_and_a_closed_one_is_an_error_not_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let output = getrandom("rusttcti:pcap,file=-:null")
        .output()
        .expect("tpm2_getrandom runs");
    let path = folder.path().join("stdout.pcapng");
    fs::write(&path, &output.stdout).unwrap();
    assert!(first_command(&path).contains("Command TPM2_CC_"));

    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    drop(reader);
    let output = getrandom("rusttcti:pcap,file=stdout:null")
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .expect("tpm2_getrandom runs");
    assert!(output.status.code().is_some(), "{}", output.status);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("standard output: Broken pipe"), "{text}");
}
