// SPDX-License-Identifier: BSD-2-Clause
//! The log's levels and destinations, by TSS2_LOG and TSS2_LOGFILE as tpm2-tss has
//! them.
//!
//! Each test runs a scene (an ignored test) in a separate process, because the
//! environment is read once.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::ptr;

use rusttcti::{Context, Error, ErrorKind};
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::scripted::{Scripted, answer};
use rusttcti_kit::vtable::{Vtable, rc};

/// The line of the error below.
const CUT_AT: u32 = line!() + 2;
fn cut() -> Error {
    Error::new(ErrorKind::IoError, "the cable\nis cut")
}

/// One command that fails, and one with a timeout that runs out.
#[test]
#[ignore = "a scene of other tests"]
fn scene_failure() {
    let context = Context::new(Scripted {
        transmit: Box::new(|_| Ok(())),
        receive: Box::new(|_, _| Err(ErrorKind::TryAgain.into())),
        ..Scripted::default()
    });
    let vtable = Vtable(context.as_ptr());
    assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
    assert_eq!(vtable.receive(0).0, rc::TRY_AGAIN);

    let context = Context::new(Scripted {
        transmit: Box::new(|_| Err(cut())),
        ..Scripted::default()
    });
    assert_eq!(
        Vtable(context.as_ptr()).transmit(&get_random(8)),
        rc::IO_ERROR
    );
}

/// Every mistake that the bridge itself tells a C caller of.
#[test]
#[ignore = "a scene of other tests"]
fn scene_mistakes() {
    let context = Context::new(Scripted::default());
    let vtable = Vtable(context.as_ptr());
    let (mut size, mut byte) = (1, 0);
    vtable.transmit_raw(10, ptr::null());
    vtable.receive(0);
    vtable.cancel();
    vtable.poll_handles_raw(ptr::null_mut(), ptr::null_mut());
    vtable.make_sticky(ptr::null_mut(), 1);
    assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
    vtable.transmit(&get_random(8));
    vtable.receive_raw(ptr::null_mut(), ptr::null_mut(), 0);
    vtable.receive_raw(&mut size, &mut byte, -2);
    vtable.set_locality(0);
    vtable.make_sticky(&mut 0, 1);
    vtable.finalize();
    vtable.transmit(&get_random(8));
    vtable.receive(0);
    vtable.cancel();
    vtable.poll_handles(0);
    vtable.set_locality(0);
}

/// A command that succeeds.
#[test]
#[ignore = "a scene of other tests"]
fn scene_success() {
    let context = Context::new(Scripted {
        transmit: Box::new(|_| Ok(())),
        receive: Box::new(|response, _| rusttcti_kit::scripted::put(response, &answer(37))),
        ..Scripted::default()
    });
    let vtable = Vtable(context.as_ptr());
    assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
    assert_eq!(vtable.receive(-1), (rc::SUCCESS, answer(37)));
}

/// The failure of a C program, which has SIGPIPE end it by default.
#[test]
#[ignore = "a scene of other tests"]
fn scene_failure_of_a_c_program() {
    // SAFETY: the default disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    scene_failure();
    std::process::exit(42);
}

/// Many threads with much to say.
#[test]
#[ignore = "a scene of other tests"]
fn scene_many() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|_| scene_success()));
        }
    });
}

fn lines_of(command: &mut Command) -> Vec<String> {
    let output = again::played(command);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn without_tss2_log_errors_are_told_and_timeouts_and_successes_are_not() {
    let lines = lines_of(&mut again::only!("scene_failure"));
    let [line] = &lines[..] else {
        panic!("one line: {lines:#?}");
    };
    // tpm2-tss ends each message with a space.
    // Where the error was made, and in which call.
    let place = format!("tests/abi/log.rs:{CUT_AT}:transmit()");
    assert_eq!(
        *line,
        format!("ERROR:tcti:{place} transmit: the cable?is cut ")
    );
    assert!(lines_of(&mut again::only!("scene_success")).is_empty());
}

#[test]
fn a_line_says_which_call_failed_and_says_it_once() {
    let lines = lines_of(&mut again::only!("scene_mistakes"));
    assert_eq!(lines.len(), 15, "{lines:#?}");
    for line in lines {
        let (_, message) = line.split_once("() ").expect("a function's name");
        let (call, words) = message.split_once(": ").expect("a call's name");
        assert!(!words.contains(&format!("{call}: ")), "{line}");
        assert!(!words.is_empty(), "{line}");
    }
}

#[test]
fn none_silences_and_other_modules_levels_do_not_matter() {
    for (pairs, count) in [
        ("all+none", 0),
        ("tcti+NONE", 0),
        ("esys+none", 1),
        ("all+none,tcti+error", 1),
        ("tcti+debug", 2),
    ] {
        let lines = lines_of(again::only!("scene_failure").env("TSS2_LOG", pairs));
        assert_eq!(lines.len(), count, "{pairs}: {lines:#?}");
    }
}

#[test]
fn buffers_are_shown_at_the_level_trace_alone_and_laid_out_as_tpm2_tss_does() {
    assert!(lines_of(again::only!("scene_success").env("TSS2_LOG", "all+debug")).is_empty());
    let lines = lines_of(again::only!("scene_success").env("TSS2_LOG", "all+TRACE"));
    let (command, response) = lines.split_at(2);
    assert!(
        command[0].starts_with("TRACE:tcti:src/abi/bridge.rs:"),
        "{lines:#?}"
    );
    assert!(
        command[0].ends_with(":transmit() transmit (size=12): "),
        "{lines:#?}"
    );
    assert_eq!(
        command[1],
        "0000: 80010000000c0000017b0008          .........{.."
    );
    assert!(
        response[0].ends_with(":receive() receive (size=37): "),
        "{lines:#?}"
    );
    assert_eq!(response.len(), 4);
    for (row, line) in response[1..].iter().enumerate() {
        assert!(line.starts_with(&format!("{:04x}: ", row * 16)), "{line}");
        // Six of the offset, 32 of sixteen bytes, two of a gap.
        assert_eq!(&line[38..40], "  ", "{line}");
    }
}

#[test]
fn a_log_file_is_made_for_the_user_alone_and_appended_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tss2.log");
    for runs in 1..=2 {
        let mut command = again::only!("scene_failure");
        assert!(lines_of(command.env("TSS2_LOGFILE", &path)).is_empty());
        let text = std::fs::read_to_string(&path).expect("a log");
        assert_eq!(text.lines().count(), runs);
    }
    let mode = path.metadata().expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_and_the_lines_go_to_standard_error() {
    let mut command = again::only!("scene_failure");
    let lines = lines_of(command.env("TSS2_LOGFILE", "/nonexistent/tss2.log"));
    let [complaint, line] = &lines[..] else {
        panic!("two lines: {lines:#?}");
    };
    assert!(complaint.starts_with("Failed to open logging file /nonexistent/tss2.log: "));
    assert!(line.starts_with("ERROR:tcti:"));
}

#[test]
fn stdout_and_a_dash_are_standard_output() {
    for name in ["-", "stdout", "STDOUT"] {
        let mut command = again::only!("scene_failure");
        let output = command.env("TSS2_LOGFILE", name).output().expect("it runs");
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("ERROR:tcti:").count(), 1, "{text}");
    }
}

#[test]
fn a_standard_error_that_nobody_reads_does_not_end_the_program() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    drop(reader);
    let status = again::only!("scene_failure_of_a_c_program")
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .expect("it runs");
    assert_eq!(status.signal(), None, "{status}");
    assert_eq!(status.code(), Some(42));
}

#[test]
fn a_fifo_that_nobody_reads_does_not_hold_a_command_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let lines = lines_of(again::only!("scene_failure").env("TSS2_LOGFILE", &fifo));
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[test]
fn messages_of_several_threads_do_not_mix() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tss2.log");
    let file = File::create(&path).expect("a file");
    let status = again::only!("scene_many")
        .env("TSS2_LOG", "tcti+trace")
        .stdout(Stdio::null())
        .stderr(file)
        .status()
        .expect("it runs");
    assert!(status.success());
    let text = std::fs::read_to_string(&path).expect("a log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8 * 200 * (2 + 4));
    let mut lines = lines.into_iter().peekable();
    while let Some(head) = lines.next() {
        assert!(head.starts_with("TRACE:tcti:"), "{head}");
        let rows = if head.contains(":transmit() ") { 1 } else { 3 };
        for row in 0..rows {
            let line = lines.next().expect("a row");
            assert!(line.starts_with(&format!("{:04x}: ", row * 16)), "{line}");
        }
    }
}
