// SPDX-License-Identifier: BSD-2-Clause
//! The transport `cmd`, with correct and with faulty shell commands.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rusttcti::transport::cmd::Cmd;
use rusttcti::wire::CommandCode;
use rusttcti::{Context, Error, ErrorKind, Module, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{command, get_random};
use rusttcti_kit::poll::polls;
use rusttcti_kit::vtable::{Vtable, rc};
use rusttcti_kit::{again, proc, signals};

const SOON: Option<Duration> = Some(PATIENCE);

/// Answers each GetRandom (12 bytes) with a response of 12 bytes.
const TPM: &str = r"while [ $(head -c 12 | wc -c) = 12 ]; do
    printf '\200\001\000\000\000\014\000\000\000\000\012\013'; done";

fn start(command: &str) -> Cmd {
    Cmd::init(Some(command)).unwrap_or_else(|error| panic!("{}", error.report()))
}

fn round_trip(cmd: &mut Cmd) -> Result<Vec<u8>, Error> {
    cmd.transmit(&get_random(8))?;
    let mut response = [0; 4096];
    let size = cmd.receive(&mut response, SOON)?;
    Ok(response[..size].to_vec())
}

/// Returns the failure of the first TPM command that fails.
fn failure(cmd: &mut Cmd) -> Error {
    (0..3)
        .find_map(|_| round_trip(cmd).err())
        .expect("it fails")
}

#[test]
fn without_a_command_line_it_is_told_what_is_missing() {
    for conf in [None, Some(""), Some("  ")] {
        let Err(error) = Cmd::init(conf) else {
            panic!("{conf:?} was opened");
        };
        assert_eq!(error.kind(), ErrorKind::BadValue);
        assert!(error.to_string().contains("/bin/sh -c"), "{error}");
    }
}

#[test]
fn commands_go_in_and_responses_come_out() {
    let mut cmd = start(TPM);
    for _ in 0..20 {
        let response = round_trip(&mut cmd).expect("an answer");
        assert_eq!(response[10..], [10, 11]);
    }
    cmd.finalize().expect("ended");
}

#[test]
fn a_timeout_is_kept_and_loses_nothing_and_the_poll_handle_tells_of_the_rest() {
    // The first byte at once, the rest when the file is there.
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    let mut cmd = start(&format!(
        r"head -c 12 >/dev/null; printf '\200'; while ! [ -e '{}' ]; do sleep 0.01; done
          printf '\001\000\000\000\014\000\000\000\000\012\013'; cat >/dev/null",
        go.display()
    ));
    cmd.transmit(&get_random(8)).expect("sent");
    for timeout in [0, 1, 100] {
        let begun = Instant::now();
        let timeout = Duration::from_millis(timeout);
        let error = cmd
            .receive(&mut [0xee; 4096], Some(timeout))
            .expect_err("too early");
        assert_eq!(error.kind(), ErrorKind::TryAgain);
        assert!(begun.elapsed() >= timeout && begun.elapsed() < Duration::from_secs(5));
    }
    std::fs::write(go, "").expect("a file");
    let handles = cmd.poll_handles().expect("handles");
    let [handle] = handles[..] else {
        panic!("one handle: {handles:?}")
    };
    // SAFETY: the transport is still open.
    let fd = unsafe { BorrowedFd::borrow_raw(handle.fd) };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let within = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut fds, Some(&within)), Ok(1));
    let mut response = [0; 4096];
    // Whether the rest comes in one piece is not ours to say.
    let size = cmd.receive(&mut response, SOON).expect("the rest");
    assert_eq!(response[..size], [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 10, 11]);
}

#[test]
fn an_early_end_is_told_with_its_exit_status_and_its_last_message() {
    for (command, told) in [
        ("exit 3", "ended with exit status 3"),
        ("true", "ended with exit status 0"),
        (
            "echo first >&2; echo 'no TPM here' >&2; exit 1",
            "exit status 1: no TPM here",
        ),
        (
            "printf 'no newline' >&2; exit 1",
            "exit status 1: no newline",
        ),
        ("kill -SEGV $$", "ended by signal 11 (SIGSEGV)"),
        (
            "no-such-program-7f3a",
            "exit status 127: /bin/sh: 1: no-such-program-7f3a: not found",
        ),
        (
            r"head -c 12 >/dev/null; printf '\200\001\000'; exit 4",
            "ended with exit status 4",
        ),
        ("head -c 5 >/dev/null; exit 5", "ended with exit status 5"),
        ("seq 100000 >&2; exit 6", "exit status 6: 100000"),
        ("exec >&-; sleep 100", "closed its output"),
    ] {
        let error = failure(&mut start(command));
        assert_eq!(error.kind(), ErrorKind::NoConnection, "{command}: {error}");
        assert!(error.to_string().contains(command), "{error}");
        assert!(error.to_string().contains(told), "{command}: {error}");
    }
}

#[test]
fn a_command_that_closes_its_output_keeps_no_timeout_waiting() {
    let mut cmd = start("exec >&-; sleep 100");
    cmd.transmit(&get_random(4)).expect("it is taken");
    assert!(polls(&mut cmd, PATIENCE), "it has an end");
    // It may be about to tell more by its exit status.
    let error = cmd.receive(&mut [0; 64], Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TryAgain);
    let error = cmd.receive(&mut [0; 64], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert!(error.to_string().contains("closed its output"), "{error}");
}

#[test]
fn after_an_early_end_the_next_command_starts_it_anew() {
    let mut cmd =
        start(r"head -c 12 >/dev/null; printf '\200\001\000\000\000\014\000\000\000\000\012\013'");
    for _ in 0..3 {
        round_trip(&mut cmd).expect("an answer");
        // It has ended since, or is about to: that is told once.
        let error = round_trip(&mut cmd).expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::NoConnection, "{error}");
    }
}

#[test]
fn what_is_no_response_is_malformed_and_the_command_is_started_anew() {
    for bytes in [
        r"\200\001\000\000\000\011\000\000\000\000\012\013", // nine bytes, it says
        r"\200\001\000\000\000\000\000\000\000\000",         // none
        r"\200\001\377\377\377\377\000\000\000\000",         // four gigabytes
        r"\200\001\000\000\020\001\000\000\000\000",         // one more than there may be
        r"\200\001\000\000\000\013\000\000\000\000\012\013", // one too many
        "Welcome to this machine!",
    ] {
        let mut cmd = start(&format!(
            "head -c 12 >/dev/null; printf '{bytes}'; cat >/dev/null"
        ));
        for _ in 0..2 {
            let error = round_trip(&mut cmd).expect_err("malformed");
            assert_eq!(
                error.kind(),
                ErrorKind::MalformedResponse,
                "{bytes}: {error}"
            );
        }
    }
}

#[test]
fn output_that_nobody_asked_for_is_never_taken_for_a_response() {
    let twice = r"\200\001\000\000\000\014\000\000\000\000\012\013";
    let folder = tempfile::tempdir().expect("a folder");
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    let mut cmd = start(&format!(
        "head -c 12 >/dev/null; printf '{twice}'; while ! [ -e '{}' ]; do sleep 0.01; done
         printf '{twice}'; >'{}'; cat >/dev/null",
        go.display(),
        done.display()
    ));
    round_trip(&mut cmd).expect("the first answer");
    std::fs::write(go, "").expect("a file");
    proc::until("the second answer", || done.exists());
    let error = cmd.transmit(&get_random(8)).expect_err("out of step");
    assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{error}");

    // `yes` never stops; a banner is shorter than a header, and is quoted; `cat`
    // sends the command back, which is well-formed, and no response.
    let told = |command: &str| {
        let error = failure(&mut start(command));
        assert_eq!(error.kind(), ErrorKind::MalformedResponse, "{error}");
        error.report()
    };
    // Both wait for the command, before which nothing may come.
    assert!(told("head -c 12 >/dev/null; yes").contains("\"y\\ny\\n"));
    assert!(
        told("head -c 12 >/dev/null; printf 'hi\\n'; cat >/dev/null").contains("\"hi\\n\" came")
    );
    assert!(told("cat").contains("echoes"));
}

#[test]
fn a_command_that_reads_nothing_fails_in_time_and_without_a_signal() {
    let mut cmd = start("sleep 1000");
    let begun = Instant::now();
    let error = (0..100)
        .find_map(|_| {
            cmd.transmit(&command(CommandCode::GET_RANDOM, &[0; 4000]))
                .err()
        })
        .expect("a pipe has no room for this");
    assert_eq!(error.kind(), ErrorKind::IoError, "{error}");
    assert!(error.to_string().contains("sleep 1000"), "{error}");
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn finalize_ends_the_whole_group_and_leaves_no_process_thread_or_descriptor() {
    again::played(&mut again::only!("scene_finalize"));
}

/// In a process of its own, whose children and descriptors are no other test's.
#[test]
#[ignore = "a scene of other tests"]
fn scene_finalize() {
    // Warm up: what is opened once and stays.
    start("cat").finalize().expect("ended");
    for (command, least) in [
        ("cat", 0),
        // Ignores the end of its input, and minds SIGTERM.
        ("sleep 1000", 1),
        // Ignores both, and has children.
        (
            "trap '' TERM; sleep 1000 | sleep 1000 & while :; do sleep 1000; done",
            2,
        ),
    ] {
        let (fds, threads) = (proc::fds(), proc::threads());
        let mut cmd = start(command);
        let children = proc::children();
        assert_eq!(children.len(), 1, "{command}");
        let group = children[0];
        let begun = Instant::now();
        cmd.finalize().expect("ended");
        assert!(begun.elapsed() >= Duration::from_secs(least), "{command}");
        assert!(
            begun.elapsed() < Duration::from_secs(least + 20),
            "{command}"
        );
        assert_eq!(proc::children(), [], "{command}: a zombie, or worse");
        proc::until("the group's end", || proc::group(group).is_empty());
        drop(cmd);
        assert_eq!(proc::threads(), threads, "{command}");
        assert_eq!(proc::fds(), fds, "{command}");
    }
}

#[test]
fn what_a_command_leaves_behind_is_ended_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid");
    let command = format!("sleep 1000 & echo $! >'{}'; exit 0", file.display());
    let error = failure(&mut start(&command));
    assert_eq!(error.kind(), ErrorKind::NoConnection, "{error}");
    let pid = std::fs::read_to_string(file).expect("a pid");
    let stat = format!("/proc/{}/stat", pid.trim());
    // An orphan is reaped by another process, in its own time.
    proc::until("its end", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn our_ends_of_the_pipes_are_above_stdio_and_closed_on_exec() {
    again::played(&mut again::only!("scene_descriptors"));
}

/// In a process of its own, whose children and descriptors are no other test's.
#[test]
#[ignore = "a scene of other tests"]
fn scene_descriptors() {
    let before = proc::fds();
    let mut cmd = start("cat");
    for fd in proc::fds().into_iter().filter(|fd| !before.contains(fd)) {
        assert!(fd > 2);
        // SAFETY: still open, and if not the call fails.
        let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).expect("open");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{fd}");
    }
    // Of all that, the command has the other ends of three pipes.
    let target = |process: &str, fd: &i32| {
        let target = std::fs::read_link(format!("/proc/{process}/fd/{fd}")).ok()?;
        Some(target.to_string_lossy().into_owned())
    };
    let ours = proc::fds().into_iter().filter(|fd| !before.contains(fd));
    let ours: Vec<String> = ours.filter_map(|fd| target("self", &fd)).collect();
    let theirs = proc::children()[0].to_string();
    for fd in proc::fds_of(proc::children()[0]) {
        let shared = target(&theirs, &fd).is_some_and(|target| ours.contains(&target));
        assert_eq!(shared, fd <= 2, "{fd}");
    }
    cmd.finalize().expect("ended");
}

#[test]
fn the_thread_that_opened_it_may_end_before_it() {
    let mut cmd = thread::spawn(|| start(TPM)).join().expect("no panic");
    for _ in 0..3 {
        round_trip(&mut cmd).expect("an answer");
    }
}

#[test]
fn a_program_that_ignores_sigchld_or_reaps_every_child_is_coped_with() {
    for scene in ["scene_ignoring_sigchld", "scene_reaping_every_child"] {
        again::played(&mut again::only!(scene));
    }
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_ignoring_sigchld() {
    // SAFETY: a disposition of this process.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    life_of_a_command();
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_reaping_every_child() {
    extern "C" fn reap(_: libc::c_int) {
        // SAFETY: allowed in a handler; NULL asks for no status.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    }
    // SAFETY: a handler that calls waitpid alone.
    unsafe { libc::signal(libc::SIGCHLD, reap as *const () as usize) };
    life_of_a_command();
}

fn life_of_a_command() {
    let mut cmd = start(TPM);
    round_trip(&mut cmd).expect("an answer");
    cmd.finalize().expect("ended");
    let error = failure(&mut start("echo the end >&2; exit 3"));
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert!(error.to_string().contains(": the end"), "{error}");
    assert_eq!(proc::children(), []);
}

#[test]
fn the_command_dies_with_a_program_that_is_killed() {
    let mut program = again::only!("scene_waiting");
    let mut program = program.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut found = Vec::new();
    proc::until("the two commands", || {
        found = proc::children_of(program.id() as i32);
        found.len() == 2
    });
    program.kill().expect("killed");
    program.wait().expect("reaped");
    for group in found {
        proc::until("the command's end", || proc::group(group).is_empty());
    }
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_waiting() {
    let _reads = start("cat");
    // Neither the end of its input nor SIGTERM would end this one.
    let _ignores = start("trap '' TERM; while :; do sleep 0.1; done");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_storm_of_signals_changes_nothing() {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _storm = signals::storm_on_this_thread(scope, &done);
        let mut cmd = start(TPM);
        for _ in 0..50 {
            round_trip(&mut cmd).expect("an answer");
        }
        cmd.finalize().expect("ended");
    });
}

#[test]
fn the_command_has_no_signal_blocked_and_neither_sigpipe_nor_sigchld_ignored() {
    for (field, must_not) in [("SigBlk", u64::MAX), ("SigIgn", 1 << 12 | 1 << 16)] {
        let mut cmd = start(&format!("grep '^{field}' /proc/self/status >&2; exit 1"));
        let error = failure(&mut cmd).to_string();
        let (_, set) = error.rsplit_once('\t').expect("a set");
        let set = u64::from_str_radix(set, 16).expect("a number");
        assert_eq!(set & must_not, 0, "{error}");
    }
}

#[test]
fn a_command_that_is_gone_does_not_end_a_c_program_by_sigpipe() {
    let status = again::only!("scene_sigpipe")
        .stderr(Stdio::null())
        .status()
        .expect("it runs");
    assert_eq!(status.code(), Some(42), "{status}");
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_sigpipe() {
    // SAFETY: the default disposition, as a C program has it.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    for command in ["exec <&-; exec sleep 1000", "true", "head -c 5 >/dev/null"] {
        let mut cmd = start(command);
        for _ in 0..3 {
            let _ = cmd.transmit(&get_random(8));
            let _ = cmd.receive(&mut [0; 4096], Some(Duration::from_millis(50)));
        }
    }
    std::process::exit(42);
}

#[test]
fn the_module_can_be_unloaded_after_its_use() {
    again::played(&mut again::only!("scene_unloading"));
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_unloading() {
    use std::ffi::CString;
    use tss_esapi_sys::{TSS2_RC, TSS2_TCTI_CONTEXT, size_t};
    type Init =
        unsafe extern "C" fn(*mut TSS2_TCTI_CONTEXT, *mut size_t, *const libc::c_char) -> TSS2_RC;

    let file = rusttcti_kit::module::file()
        .canonicalize()
        .expect("a module");
    let path = CString::new(file.to_str().expect("UTF-8")).expect("no NUL");
    let conf = CString::new(TPM).expect("no NUL");
    let mut before = None;
    for _ in 0..20 {
        // SAFETY: the module's own functions, as its header declares them, in
        // memory of the size and alignment that it asks for.
        unsafe {
            let module = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            assert!(!module.is_null());
            let init = libc::dlsym(module, c"Tss2_Tcti_Rusttcti_Cmd_Init".as_ptr());
            assert!(!init.is_null());
            let init: Init = std::mem::transmute(init);
            let mut size = 0;
            assert_eq!(init(std::ptr::null_mut(), &mut size, conf.as_ptr()), 0);
            let mut memory = vec![0u128; (size as usize).div_ceil(16)];
            let context = memory.as_mut_ptr().cast::<TSS2_TCTI_CONTEXT>();
            assert_eq!(init(context, &mut size, conf.as_ptr()), 0);
            let vtable = Vtable(context);
            assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
            assert_eq!(vtable.receive(20_000).0, rc::SUCCESS);
            vtable.finalize();
            assert_eq!(libc::dlclose(module), 0);
        }
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        assert!(
            !maps.contains(file.to_str().expect("UTF-8")),
            "it is still loaded"
        );
        let now = (proc::fds(), proc::threads(), proc::children());
        assert_eq!(*before.get_or_insert_with(|| now.clone()), now);
    }
}

#[test]
fn its_messages_reach_our_standard_error() {
    let output = again::played(&mut again::only!("scene_messages"));
    let text = String::from_utf8_lossy(&output.stderr);
    for line in ["1\n", "4999\n", "5000\n"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
#[ignore = "a scene of other tests"]
fn scene_messages() {
    let mut cmd = start("seq 5000 >&2; exit 1");
    failure(&mut cmd);
}

#[test]
fn a_forked_child_of_the_program_does_not_touch_the_command() {
    let context = Context::new(start(TPM));
    let vtable = Vtable(context.as_ptr());
    assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
    assert_eq!(vtable.receive(20_000).0, rc::SUCCESS);
    // SAFETY: the child makes a few calls and exits.
    match unsafe { libc::fork() } {
        0 => {
            let refused = vtable.transmit(&get_random(8)) == rc::BAD_CONTEXT;
            vtable.finalize();
            // SAFETY: nothing else of the parent's may run here.
            unsafe { libc::_exit(if refused { 0 } else { 1 }) };
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of ours and a status of ours.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    assert_eq!(vtable.transmit(&get_random(8)), rc::SUCCESS);
    assert_eq!(
        vtable.receive(20_000).1,
        [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 10, 11]
    );
}

#[test]
fn a_fork_of_the_program_that_lives_on_does_not_keep_the_command_alive() {
    let folder = tempfile::tempdir().expect("a folder");
    let seen = folder.path().join("seen");
    // The command writes after the end of its input, and ignores SIGTERM.
    let command = format!("trap '' TERM; cat >/dev/null; >'{}'", seen.display());
    let mut cmd = start(&command);
    // SAFETY: the child sleeps and is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: calls that are allowed after fork.
        unsafe {
            libc::pause();
            libc::_exit(0)
        };
    }
    cmd.finalize().expect("ended");
    // SAFETY: a child of ours.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    assert!(
        seen.exists(),
        "the command did not see the end of its input"
    );
}

#[test]
fn tools_reach_a_tpm_through_tpm2_send_over_another_transport_of_ours() {
    let swtpm = rusttcti_kit::swtpm::Swtpm::unix();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("tpm.state");
    for chain in [
        format!("swtpm:{}", swtpm.conf()),
        format!("libtpms:{}", state.display()),
    ] {
        let output = rusttcti_kit::module::program("tpm2_getrandom")
            .args([
                "-T",
                &format!("rusttcti:cmd:tpm2_send -T rusttcti:{chain}"),
                "--hex",
                "16",
            ])
            .output()
            .expect("tpm2_getrandom");
        assert!(output.status.success(), "{chain}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.trim().len(), 32, "{chain}: {text}");
        assert!(output.stderr.is_empty(), "{chain}: {output:?}");
    }
    assert!(Path::new(&state).exists());
}

#[test]
fn a_tpm_behind_a_real_sshd_answers_and_a_refusal_is_told_in_sshs_words() {
    let swtpm = rusttcti_kit::swtpm::Swtpm::unix();
    let sshd = rusttcti_kit::sshd::Sshd::new();
    let mut cmd = start(&sshd.ssh(&format!("tpm2_send -T swtpm:{}", swtpm.conf())));
    for _ in 0..3 {
        let response = rusttcti_kit::tpm::ok(&mut cmd, &get_random(16));
        assert_eq!(response.len(), 28);
    }
    cmd.finalize().expect("ended");

    let error = failure(&mut start(&sshd.ssh("no-such-program-7f3a")));
    assert!(error.to_string().contains("exit status 127: "), "{error}");
    assert!(error.to_string().ends_with("not found"), "{error}");
    let elsewhere = sshd.ssh("true").replace("/user'", "/nobody'");
    let error = failure(&mut start(&elsewhere));
    assert!(error.to_string().contains("exit status 255: "), "{error}");
    assert!(error.to_string().contains("Permission denied"), "{error}");
}
