// SPDX-License-Identifier: BSD-2-Clause
//! The transport `device` over the kernel's driver and the guest's TPM. `make check-vm`
//! runs these tests in a guest (`--ignored --test-threads=1`).

use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::transport::device::Device;
use rusttcti::wire::CommandCode;
use rusttcti::{Context, Error, ErrorKind, Module, PollHandle, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::signals;
use rusttcti_kit::tpm::{authorized, ok};
use rusttcti_kit::vtable::{Vtable, rc};

const PATHS: [&str; 2] = ["/dev/tpmrm0", "/dev/tpm0"];
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn open(path: &str) -> Device {
    Device::init(Some(path)).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn refused(path: &str) -> Error {
    match Device::init(Some(path)) {
        Ok(_) => panic!("{path} was opened"),
        Err(error) => error,
    }
}

/// TPM2_CreatePrimary of an RSA key of 2048 bits, for which two primes must be
/// found: the TPM computes for a while. Another key for each `unique`.
fn create_rsa(unique: u8) -> Vec<u8> {
    let mut template = vec![
        0x00, 0x01, // RSA
        0x00, 0x0b, // SHA-256 names it
        0x00, 0x03, 0x04, 0x72, // restricted decryption, with a password
        0x00, 0x00, // no policy
        0x00, 0x06, 0x00, 0x80, 0x00, 0x43, // AES-128 CFB
        0x00, 0x10, // no scheme
        0x08, 0x00, // 2048 bits
        0x00, 0x00, 0x00, 0x00, // the usual exponent
        0x01, 0x00, // the field that makes it another
    ];
    template.extend([unique; 256]);
    let mut parameters = vec![0, 4, 0, 0, 0, 0];
    parameters.extend((template.len() as u16).to_be_bytes());
    parameters.extend(template);
    parameters.extend([0, 0, 0, 0, 0, 0]);
    const OWNER: u32 = 0x4000_0001;
    authorized(CommandCode::CREATE_PRIMARY, &[OWNER], 1, &parameters)
}

/// Removes the object that a response of TPM2_CreatePrimary names.
fn flush(device: &mut Device, response: &[u8]) {
    assert_eq!(response_code(response), 0, "{response:02x?}");
    ok(
        device,
        &command(CommandCode::FLUSH_CONTEXT, &response[10..14]),
    );
}

fn shows_input(handle: PollHandle, within: Duration) -> bool {
    // SAFETY: the device that the handle is of is still open.
    let fd = unsafe { BorrowedFd::borrow_raw(handle.fd) };
    let flags = PollFlags::from_bits_retain(handle.events as u16);
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let within = Timespec::try_from(within).expect("a short time");
    poll(&mut fds, Some(&within)).expect("poll") == 1
}

fn handle(device: &mut Device) -> PollHandle {
    device.poll_handles().expect("handles")[0]
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn commands_and_responses_of_every_size_pass() {
    for path in PATHS {
        let mut device = open(path);
        for bytes in [1, 8, 16, 32, 48] {
            let response = ok(&mut device, &get_random(bytes));
            assert_eq!(response.len(), 12 + usize::from(bytes), "{path}");
        }
        // TPM2_GetCapability of all commands: a response of over a kilobyte.
        let response = ok(
            &mut device,
            &command(
                CommandCode::GET_CAPABILITY,
                &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0],
            ),
        );
        assert!(response.len() > 400, "{path}: {}", response.len());
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn timeouts_are_kept_while_the_tpm_computes_and_the_response_is_not_lost() {
    for path in PATHS {
        let mut device = open(path);
        let mut response = [0; 4096];
        // The time for a key is random.
        let (mut looks, mut waits, mut slowest) = (0, 0, Duration::ZERO);
        for unique in 1..=10 {
            device.transmit(&create_rsa(unique)).expect("sent");
            let size = loop {
                let timeout = if looks < 50 { 0 } else { 20 };
                let timeout = Duration::from_millis(timeout);
                let begun = Instant::now();
                match device.receive(&mut response, Some(timeout)) {
                    Ok(size) => break size,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::TryAgain, "{error}"),
                }
                let took = begun.elapsed();
                assert!(took >= timeout, "{took:?}");
                slowest = slowest.max(took - timeout);
                if timeout.is_zero() {
                    looks += 1;
                } else {
                    waits += 1;
                }
            };
            flush(&mut device, &response[..size]);
        }
        println!("{path}: {looks} looks, {waits} waits, {slowest:?} late at most");
        // A look that waited for the TPM would have been one of a few.
        assert!(
            looks >= 50 && waits >= 2,
            "{path}: {looks} looks, {waits} waits"
        );
        assert!(slowest < Duration::from_secs(2), "{path}: {slowest:?} late");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn the_poll_handle_tells_when_the_response_is_there_and_not_before() {
    for path in PATHS {
        let mut device = open(path);
        let handle = handle(&mut device);
        let mut early = 0;
        for unique in 11..=15 {
            assert!(
                !shows_input(handle, Duration::ZERO),
                "{path}: nothing was sent"
            );
            device.transmit(&create_rsa(unique)).expect("sent");
            while !shows_input(handle, Duration::from_millis(10)) {
                early += 1;
            }
            let mut response = [0; 4096];
            let size = device.receive(&mut response, AT_ONCE).expect("it is there");
            flush(&mut device, &response[..size]);
        }
        println!("{path}: {early} polls before the responses");
        assert!(early >= 3, "{path}: {early}");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_storm_of_signals_changes_nothing() {
    for path in PATHS {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _storm = signals::storm_on_this_thread(scope, &done);
            let mut device = open(path);
            for _ in 0..50 {
                assert_eq!(ok(&mut device, &get_random(16)).len(), 28, "{path}");
            }
            let response = ok(&mut device, &create_rsa(21));
            flush(&mut device, &response);
        });
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_response_that_nobody_fetched_does_not_meet_the_next_command() {
    for path in PATHS {
        let mut device = open(path);
        let there = handle(&mut device);
        device.transmit(&get_random(8)).expect("sent");
        assert!(shows_input(there, PATIENCE), "{path}");
        device.finalize().expect("closed");
        // While the TPM computes: closing waits for it.
        let mut device = open(path);
        device.transmit(&create_rsa(31)).expect("sent");
        device.finalize().expect("closed");

        let mut device = open(path);
        assert_eq!(ok(&mut device, &get_random(32)).len(), 44, "{path}");
        // Sent twice without a receive: the first response goes, as the caller's
        // bridge would not allow it to be asked for.
        device.transmit(&get_random(8)).expect("sent");
        assert!(shows_input(handle(&mut device), PATIENCE), "{path}");
        assert_eq!(ok(&mut device, &get_random(32)).len(), 44, "{path}");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_command_too_large_for_the_kernel_is_refused_and_the_next_one_passes() {
    for path in PATHS {
        let mut device = open(path);
        let error = device
            .transmit(&command(CommandCode::GET_RANDOM, &[0; 20_000]))
            .expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::BadValue, "{error}");
        assert!(error.to_string().contains(path), "{error}");
        ok(&mut device, &get_random(8));
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_device_that_is_open_elsewhere_is_told_to_be_busy() {
    let _first = open("/dev/tpm0");
    let error = refused("/dev/tpm0");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("busy") && text.contains("/dev/tpmrm0"),
        "{text}"
    );
    // The kernel's resource manager can be shared.
    let (mut one, mut other) = (open("/dev/tpmrm0"), open("/dev/tpmrm0"));
    one.transmit(&get_random(8)).expect("sent");
    ok(&mut other, &get_random(16));
    assert_eq!(one.receive(&mut [0; 4096], None).expect("received"), 20);
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_forked_child_that_lives_on_does_not_keep_the_device() {
    let mut device = open("/dev/tpm0");
    let (mut is_up, up) = std::os::unix::net::UnixStream::pair().expect("a pair");
    // SAFETY: the child says that it is up, sleeps and is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: calls that are allowed after fork.
        unsafe {
            libc::write(up.as_raw_fd(), b"x".as_ptr().cast(), 1);
            libc::pause();
            libc::_exit(0)
        };
    }
    // What it gives up, it does when it first runs.
    is_up.read_exact(&mut [0]).expect("it is up");
    ok(&mut device, &get_random(8));
    device.finalize().expect("closed");
    let again = Device::init(Some("/dev/tpm0"));
    // SAFETY: a child of ours.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert!(again.is_ok(), "the child has it");
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn a_user_without_rights_is_told_so_for_each_device_that_was_tried() {
    let error = thread::spawn(|| {
        rusttcti_kit::rights::become_nobody_on_this_thread();
        match Device::init(None) {
            Ok(_) => panic!("nobody may use the TPM"),
            Err(error) => error,
        }
    })
    .join()
    .expect("no panic");
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    for part in [
        "/dev/tpmrm0: permission denied",
        "/dev/tpm0: permission denied",
        "/dev/tcm0",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
#[ignore = "needs a TPM of its own: make check-vm"]
fn without_a_path_the_resource_managers_device_is_taken_and_c_can_use_it() {
    let _keeps_the_other_one = open("/dev/tpm0");
    let context = Context::new(Device::init(None).unwrap_or_else(|e| panic!("{}", e.report())));
    let vtable = Vtable(context.as_ptr());
    assert_eq!(vtable.transmit(&create_rsa(41)), rc::SUCCESS);
    assert_eq!(vtable.receive(0).0, rc::TRY_AGAIN);
    // Not to C's small buffer either.
    let mut small = [0; 10];
    let needed = loop {
        match vtable.receive_into(&mut small, 1000) {
            (rc::TRY_AGAIN, _) => {}
            (code, needed) => {
                assert_eq!(code, rc::INSUFFICIENT_BUFFER);
                break needed;
            }
        }
    };
    let (code, response) = vtable.receive(0);
    assert_eq!((code, response.len()), (rc::SUCCESS, needed));
    assert_eq!(response_code(&response), 0);
}
