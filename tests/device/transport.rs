// SPDX-License-Identifier: BSD-2-Clause
//! The transport `device`, over a pseudo terminal whose other side is the test. `make
//! check-vm` tests it over the kernel's driver.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::transport::device::Device;
use rusttcti::wire::CommandCode;
use rusttcti::{Error, ErrorKind, Module, PollHandle, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::again;
use rusttcti_kit::commands::get_random;
use rusttcti_kit::pty::Pty;
use rusttcti_kit::scripted::answer;
use rusttcti_kit::signals;

const SOON: Option<Duration> = Some(PATIENCE);

fn open(path: &str) -> Device {
    Device::init(Some(path)).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn refused(conf: Option<&str>) -> Error {
    match Device::init(conf) {
        Ok(_) => panic!("{conf:?} was opened"),
        Err(error) => error,
    }
}

/// Polls the only handle of this transport for this time, and returns its events.
fn shows(handle: PollHandle, within: Duration) -> PollFlags {
    // SAFETY: the transport that the handle is of is still open.
    let fd = unsafe { BorrowedFd::borrow_raw(handle.fd) };
    let flags = PollFlags::from_bits_retain(handle.events as u16);
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let within = Timespec::try_from(within).expect("a short time");
    poll(&mut fds, Some(&within)).expect("poll");
    fds[0].revents()
}

#[test]
fn a_command_goes_out_whole_and_its_response_comes_back() {
    let mut pty = Pty::new();
    let mut device = open(pty.path());
    for bytes in 1..20 {
        device.transmit(&get_random(bytes)).expect("sent");
        assert_eq!(pty.command(), get_random(bytes));
        let response = answer(12 + usize::from(bytes));
        pty.answer(&response);
        let mut buffer = [0; 4096];
        let size = device.receive(&mut buffer, SOON).expect("received");
        assert_eq!(buffer[..size], response);
    }
}

#[test]
fn a_timeout_is_kept_and_loses_nothing_of_a_response_in_parts() {
    let mut pty = Pty::new();
    let mut device = open(pty.path());
    device.transmit(&get_random(8)).expect("sent");
    let mut buffer = [0; 4096];
    let response = answer(20);
    for byte in &response {
        let begun = Instant::now();
        let error = device
            .receive(&mut buffer, Some(Duration::ZERO))
            .expect_err("not whole");
        assert_eq!(error.kind(), ErrorKind::TryAgain);
        let error = device
            .receive(&mut buffer, Some(Duration::from_millis(3)))
            .expect_err("early");
        assert_eq!(error.kind(), ErrorKind::TryAgain);
        assert!(begun.elapsed() >= Duration::from_millis(3));
        assert!(begun.elapsed() < Duration::from_secs(5));
        // Whatever buffer it is next time.
        buffer.fill(0xee);
        pty.answer(&[*byte]);
    }
    let size = device.receive(&mut buffer, SOON).expect("received");
    assert_eq!(buffer[..size], response);
}

#[test]
fn the_poll_handle_is_readable_when_and_only_when_there_is_something_to_receive() {
    let mut pty = Pty::new();
    let mut device = open(pty.path());
    let handles = device.poll_handles().expect("handles");
    let [handle] = handles[..] else {
        panic!("one handle, not {handles:?}")
    };
    assert_eq!(shows(handle, Duration::from_millis(5)), PollFlags::empty());
    for _ in 0..3 {
        device.transmit(&get_random(8)).expect("sent");
        pty.command();
        pty.answer(&answer(20));
        // A terminal, unlike the driver, also tells when it has been written.
        let received = (0..10).find_map(|_| {
            assert!(shows(handle, PATIENCE).contains(PollFlags::IN));
            device.receive(&mut [0; 4096], Some(Duration::ZERO)).ok()
        });
        assert_eq!(received, Some(20));
    }
}

#[test]
fn a_storm_of_signals_changes_nothing() {
    let mut pty = Pty::new();
    let path = pty.path().to_owned();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _storm = signals::storm_on_this_thread(scope, &done);
        scope.spawn(|| {
            for _ in 0..200 {
                pty.command();
                let response = answer(300);
                let (first, second) = response.split_at(7);
                pty.answer(first);
                thread::yield_now();
                pty.answer(second);
            }
        });
        let mut device = open(&path);
        for _ in 0..200 {
            device.transmit(&get_random(8)).expect("sent");
            let mut buffer = [0; 4096];
            let size = device.receive(&mut buffer, SOON).expect("received");
            assert_eq!(buffer[..size], answer(300));
        }
    });
}

#[test]
fn a_malformed_response_is_told_and_the_next_command_starts_clean() {
    let mut pty = Pty::new();
    let mut device = open(pty.path());
    let mut trailing = answer(20);
    trailing.push(0);
    let mut tiny = answer(20);
    tiny[5] = 9;
    let mut huge = answer(20);
    huge[2] = 0x7f;
    for bad in [trailing, tiny, huge, vec![0xff; 600]] {
        device.transmit(&get_random(8)).expect("sent");
        pty.command();
        pty.answer(&bad);
        let error = device.receive(&mut [0; 4096], SOON).expect_err("malformed");
        assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{error}");

        device.transmit(&get_random(8)).expect("sent");
        pty.command();
        pty.answer(&answer(20));
        let size = device.receive(&mut [0; 4096], SOON).expect("received");
        assert_eq!(size, 20);
    }
}

#[test]
fn a_device_that_takes_nothing_fails_a_command_in_time() {
    let pty = Pty::new();
    let mut device = open(pty.path());
    let begun = Instant::now();
    // What fits into the kernel's buffer of a terminal is taken, unread.
    let error = (0..1000)
        .find_map(|_| {
            device
                .transmit(&rusttcti_kit::commands::command(
                    CommandCode::GET_RANDOM,
                    &[0; 4000],
                ))
                .err()
        })
        .expect("it cannot take four megabytes");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error}");
    assert!(error.to_string().contains(pty.path()), "{error}");
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn descriptors_are_above_stdio_closed_on_exec_and_gone_after_finalize() {
    again::played(&mut again::only!("scene_descriptors"));
}

/// In a process of its own, whose descriptors are no other test's.
#[test]
#[ignore = "a scene of other tests"]
fn scene_descriptors() {
    let pty = Pty::new();
    let open_here = || {
        std::fs::read_dir("/proc/self/fd")
            .expect("proc")
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let target = std::fs::read_link(entry.path()).ok()?;
                let fd: i32 = entry.file_name().to_str()?.parse().ok()?;
                (target == std::path::Path::new(pty.path())).then_some(fd)
            })
            .collect::<Vec<_>>()
    };
    let before = open_here();
    let mut device = open(pty.path());
    let mut fds = open_here();
    fds.retain(|fd| !before.contains(fd));
    assert_eq!(fds.len(), 1);
    fds.push(device.poll_handles().expect("handles")[0].fd);
    for fd in &fds {
        assert!(*fd > 2);
        // SAFETY: still open.
        let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(*fd) }).expect("fd");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    device.finalize().expect("closed");
    assert_eq!(open_here(), before);
    let handle = std::fs::read_link(format!("/proc/self/fd/{}", fds[1]));
    assert!(!handle.is_ok_and(|target| target.to_string_lossy().contains("eventpoll")));
}

#[test]
fn what_cannot_be_opened_is_named_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("tpm9");
    let regular = folder.path().join("file");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let swtpm = format!("swtpm:path={}", socket.display());
    std::fs::write(&regular, "").expect("a file");
    for (path, kind, reason) in [
        (missing.as_path(), ErrorKind::IoError, "no such file"),
        (
            regular.as_path(),
            ErrorKind::BadValue,
            "not a character device",
        ),
        (folder.path(), ErrorKind::BadValue, "a directory"),
        (socket.as_path(), ErrorKind::BadValue, &swtpm),
    ] {
        let path = path.to_str().expect("UTF-8");
        let error = refused(Some(path));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

/// Opens a terminal.
#[test]
#[ignore = "a scene of another test"]
fn scene_terminal() {
    let pty = Pty::new();
    drop(open(pty.path()));
    println!("PATH {}", pty.path());
}

#[test]
fn a_terminal_in_a_device_s_place_is_told() {
    let output = again::played(&mut again::only!("scene_terminal"));
    let told = String::from_utf8_lossy(&output.stdout);
    let (_, path) = told.split_once("PATH ").expect("a path");
    let path = path.lines().next().expect("a path");
    let log = String::from_utf8_lossy(&output.stderr);
    let expected = format!("\"{path}\" is a terminal or a serial line, not the device of a TPM");
    assert!(log.contains("WARNING:tcti:"), "{log}");
    assert!(log.contains(&expected), "{log}");
}

#[test]
fn a_user_who_may_not_open_it_is_told_which_group_may() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let root = file.as_file().metadata().expect("metadata").uid() == 0;
    let mode = if root { 0o660 } else { 0 };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    if root {
        // A group that each Debian has.
        chown(&path, None, Some(1)).expect("a group");
    }
    let error = thread::spawn(move || {
        if root {
            rusttcti_kit::rights::become_nobody_on_this_thread();
        }
        refused(Some(&path))
    })
    .join()
    .expect("no panic");
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("permission denied"), "{error}");
    if root {
        assert!(
            error.to_string().contains("is this user in group daemon?"),
            "{error}"
        );
    }
}

#[test]
fn without_a_path_each_device_that_was_tried_is_named_with_its_reason() {
    let here = ["/dev/tpmrm0", "/dev/tpm0", "/dev/tcm0"];
    for conf in [None, Some("")] {
        match Device::init(conf) {
            Ok(_) => assert!(here.iter().any(|path| std::path::Path::new(path).exists())),
            Err(error) => {
                let text = error.to_string();
                assert!(here.iter().all(|path| text.contains(path)), "{text}");
            }
        }
    }
}

#[test]
fn what_the_driver_cannot_do_is_not_implemented() {
    let pty = Pty::new();
    let mut device = open(pty.path());
    assert!(device.canceller().is_none());
    for error in [
        device.set_locality(1).expect_err("no locality"),
        device.reset().expect_err("no reset"),
        device
            .make_sticky(0x8000_0000, true)
            .expect_err("no resource manager"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotImplemented);
    }
    // The device was not touched by any of this.
    assert!(pty.master.as_raw_fd() > 2);
}
