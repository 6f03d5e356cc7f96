// SPDX-License-Identifier: BSD-2-Clause
//! Embedded TPMs in memory: the memory that each takes, and that none affects another.

use std::time::Instant;

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::CommandCode;
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::again;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::tpm::*;

fn new() -> Libtpms {
    let tpm = Libtpms::builder().open();
    tpm.unwrap_or_else(|error| panic!("{}", error.report()))
}

#[test]
fn a_copy_is_never_what_others_get_for_libtpms() {
    let mut tpm = new();
    // SAFETY: libtpms's initialisers do nothing but their own set-up.
    let library = unsafe { libloading::os::unix::Library::new("libtpms.so.0") }.expect("libtpms");
    // SAFETY: the function's type in libtpms/tpm_library.h.
    let choose =
        unsafe { library.get::<unsafe extern "C" fn(i32) -> u32>(b"TPMLIB_ChooseTPMVersion") }
            .expect("a function");
    // SAFETY: it takes a number. It is refused while a TPM of this library runs.
    assert_eq!(unsafe { choose(1) }, 0);
    ok(&mut tpm, &get_random(16));
}

#[test]
fn a_short_command_allocates_nothing() {
    let mut tpm = new();
    let command = get_random(16);
    let mut response = [0; 4096];
    let mut run = |tpm: &mut Libtpms| {
        tpm.transmit(&command).expect("sent");
        assert!(tpm.canceller().is_none());
        assert_eq!(tpm.receive(&mut response, None).expect("a response"), 28);
    };
    run(&mut tpm);
    let allocations = rusttcti_kit::alloc::on_this_thread(|| {
        for _ in 0..100 {
            run(&mut tpm);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn an_empty_path_is_no_state_file() {
    let error = Libtpms::builder().path("").open().expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert!(error.report().contains("is empty"), "{}", error.report());
}

#[test]
fn a_buffer_that_a_response_does_not_fit_in_is_told_with_both_sizes() {
    let mut tpm = new();
    tpm.transmit(&get_random(16)).expect("sent");
    let error = tpm.receive(&mut [0; 16], None).expect_err("28 bytes");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse);
    let told = error.report();
    assert!(told.contains("28 bytes, but the buffer has 16"), "{told}");
    ok(&mut tpm, &get_random(16));
}

#[test]
fn a_response_is_not_lost_to_what_comes_before_it_is_received() {
    let mut tpm = new();
    let snapshot = tpm.snapshot().expect("a state");
    let mut response = [0; 4096];
    let between: [&dyn Fn(&mut Libtpms); 4] = [
        &|tpm| drop(tpm.snapshot().expect("a state")),
        &|tpm| tpm.reset().expect("a power cycle"),
        &|tpm| tpm.restore(&snapshot).expect("the state of before"),
        &|tpm| drop(tpm.poll_handles().expect("a handle")),
    ];
    for between in between {
        tpm.transmit(&get_random(24)).expect("sent");
        between(&mut tpm);
        let received = tpm.receive(&mut response, None).expect("a response");
        assert_eq!((received, response_code(&response[..received])), (36, 0));
    }
}

#[test]
fn short_and_long_commands_of_a_context_take_turns() {
    let mut tpm = new();
    for _ in 0..20 {
        ok(&mut tpm, &get_random(16));
        ok(&mut tpm, &create_primary_ecc());
        ok(&mut tpm, &get_random(16));
        ok(
            &mut tpm,
            &command(CommandCode::FLUSH_CONTEXT, &[0x80, 0, 0, 0]),
        ); // TPM2_FlushContext
        ok(&mut tpm, &pcr_extend(DEBUG_PCR, 1));
    }
}

#[test]
fn localities_are_felt_by_the_tpm() {
    let mut tpm = new();
    let extend = pcr_extend(17, 1);
    let locality = |tpm: &mut Libtpms, locality| tpm.set_locality(locality).expect("a locality");
    let code = |tpm: &mut Libtpms| response_code(&call(tpm, &extend).expect("a response"));
    assert_eq!(code(&mut tpm), 0x907, "TPM_RC_LOCALITY");
    locality(&mut tpm, 4);
    assert_eq!(code(&mut tpm), 0);
    locality(&mut tpm, 0);
    assert_eq!(code(&mut tpm), 0x907, "TPM_RC_LOCALITY");
    for each in [1, 2, 3, 32, 255] {
        locality(&mut tpm, each);
        assert_eq!(ok(&mut tpm, &get_random(8)).len(), 20);
    }
    for none in 5..32 {
        let error = tpm.set_locality(none).expect_err("no such locality");
        assert_eq!(error.kind(), ErrorKind::BadValue);
        let opened = Libtpms::builder().locality(none).open();
        let error = opened.expect_err("no such locality");
        assert_eq!(error.kind(), ErrorKind::BadValue);
    }
    let mut other = Libtpms::builder().locality(4).open().expect("a TPM");
    assert_eq!(code(&mut other), 0, "each TPM has its own");
}

/// TPM2_ReadClock: the milliseconds since the TPM was powered on, and how often
/// that was.
fn clock(tpm: &mut Libtpms) -> (u64, u32) {
    let response = ok(tpm, &command(CommandCode::READ_CLOCK, &[]));
    let time = response[10..18].try_into().expect("8 bytes");
    let resets = response[26..30].try_into().expect("4 bytes");
    (u64::from_be_bytes(time), u32::from_be_bytes(resets))
}

#[test]
fn each_tpm_has_its_own_time() {
    let mut first = new();
    let deadline = Instant::now() + PATIENCE;
    while clock(&mut first).0 < 100 {
        assert!(Instant::now() < deadline, "the TPM's time stands still");
        std::thread::yield_now();
    }
    let mut second = new();
    let (younger, resets) = clock(&mut second);
    let (older, resets_of_first) = clock(&mut first);
    assert!(younger + 100 <= older, "{younger} ms, {older} ms");
    assert_eq!(resets, resets_of_first);

    first.reset().expect("a power cycle");
    assert!(clock(&mut first).0 < older, "it begins at its power cycle");
    assert_eq!(clock(&mut first).1, resets + 1);
    assert!(clock(&mut second).0 >= younger, "and only its own");
    assert_eq!(clock(&mut second).1, resets);
}

#[test]
fn nobody_is_physically_present() {
    let mut tpm = new();
    // TPM2_PP_Commands by the platform, with no commands to add or to take out.
    let pp_commands = authorized(CommandCode::PP_COMMANDS, &[0x4000_000c], 1, &[0; 8]);
    let response = call(&mut tpm, &pp_commands).expect("a response");
    assert_eq!(response_code(&response), 0x990, "TPM_RC_PP, of session 1");
}

#[test]
fn a_tpm_goes_back_to_a_snapshot() {
    let mut tpm = new();
    ok(&mut tpm, &nv_define_counter());
    ok(&mut tpm, &nv_increment());
    let snapshot = tpm.snapshot().expect("a snapshot");
    ok(&mut tpm, &nv_increment());
    tpm.restore(&snapshot).expect("restored");
    assert_eq!(nv_read_counter(&mut tpm), 1);
    ok(&mut tpm, &nv_increment());
    let error = tpm.restore(b"no state").expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::BadValue);
    assert_eq!(nv_read_counter(&mut tpm), 2, "as it was");
}

#[test]
fn no_descriptor_takes_the_place_of_a_closed_standard_stream() {
    // In a process of its own: this program, started without the three.
    const ALONE: &str = "RUSTTCTI_TEST_WITHOUT_STREAMS";
    if let Ok(path) = std::env::var(ALONE) {
        for fd in 0..3 {
            // SAFETY: nothing in this process prints any more.
            unsafe { libc::close(fd) };
        }
        let tpm = Libtpms::builder().path(&path).open();
        let mut tpm = tpm.unwrap_or_else(|_| std::process::exit(2));
        let polled = tpm.poll_handles().is_ok_and(|handles| handles[0].fd > 2);
        let run = tpm.transmit(&create_primary_ecc()).is_ok();
        // SAFETY: F_GETFD of any number is harmless.
        let free = (0..3).all(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1);
        drop(tpm);
        std::process::exit(if polled && run && free { 0 } else { 3 });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let test = "no_descriptor_takes_the_place_of_a_closed_standard_stream";
    let status = again::command(module_path!(), test, false)
        .env(ALONE, folder.path().join("state"))
        .status()
        .expect("started");
    assert_eq!(status.code(), Some(0));
}

/// Asserts what both scenes below expect of a copy that fails for this reason.
fn assert_only_one_tpm(reason: &str) {
    for _ in 0..2 {
        let mut first = new();
        ok(&mut first, &create_primary_ecc());
        let error = Libtpms::builder().open().expect_err("no second one");
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        let report = error.report();
        assert!(report.contains("a second TPM in one process"), "{report}");
        assert!(report.contains(reason), "{report}");
        ok(&mut first, &get_random(16));
        // Once it is closed, there may be another.
    }
}

#[test]
#[ignore = "a scene of another test"]
fn scene_small_files() {
    let limit = libc::rlimit {
        rlim_cur: 100 << 10,
        rlim_max: 100 << 10,
    };
    // SAFETY: a limit for this process, and a signal that is ignored so that
    // writing further fails.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    assert_only_one_tpm("File too large");
}

/// Containers and systemd's SystemCallFilter= do so.
#[test]
#[ignore = "a scene of another test"]
fn scene_memfd_is_filtered() {
    rusttcti_kit::rights::refuse_system_call_on_this_thread(libc::SYS_memfd_create);
    assert_only_one_tpm("Operation not permitted");
}

#[test]
fn where_the_library_cannot_be_copied_the_first_tpm_works_and_the_second_says_why() {
    for scene in ["scene_small_files", "scene_memfd_is_filtered"] {
        again::played(&mut again::only!(scene));
    }
}

#[test]
fn a_missing_libtpms_is_named_with_its_package() {
    // In a process of its own, whose libtpms.so.0 is no library.
    const NONE: &str = "RUSTTCTI_TEST_NO_LIBTPMS";
    if std::env::var_os(NONE).is_some() {
        let error = rusttcti::open("libtpms").err().expect("no libtpms");
        let report = error.report();
        assert!(
            report.contains("cannot load libtpms.so.0 (Debian package libtpms0)"),
            "{report}"
        );
        assert_eq!(error.kind(), ErrorKind::NotSupported);
        std::process::exit(42);
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("libtpms.so.0"), "no library").expect("written");
    let test = "a_missing_libtpms_is_named_with_its_package";
    let output = again::command(module_path!(), test, false)
        .env(NONE, "1")
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .expect("started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(42), "{errors}");
}
