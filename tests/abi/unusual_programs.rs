// SPDX-License-Identifier: BSD-2-Clause
//! Programs that do what a library does not expect: they close descriptors that are not
//! theirs, become daemons, change the user or the working directory. Each runs in a
//! separate process (a scene).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rusttcti::wire::CommandCode;
use rusttcti_kit::again;
use rusttcti_kit::chains::Chains;
use rusttcti_kit::commands::{get_random, response_code};
use rusttcti_kit::loaded::{Loaded, Opened};
use rusttcti_kit::proc;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::*;
use rusttcti_kit::vtable::rc;

/// The variable that tells a scene its subject.
const ABOUT: &str = "RUSTTCTI_TEST_ABOUT";
const NOBODY: u32 = 65534;

fn scene(name: &str, about: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = again::only!(name);
    command
        .env(ABOUT, about)
        .env("RUSTTCTI_MODULE_DIR", rusttcti_kit::module::dir())
        .env("RUSTTCTI_FSYNC", "0");
    command
}

fn play(name: &str, about: impl AsRef<std::ffi::OsStr>) {
    again::played(&mut scene(name, about));
}

fn about() -> Option<String> {
    std::env::var(ABOUT).ok()
}

fn define_counter(context: &Opened) {
    context.ok(&nv_define_counter());
    context.ok(&nv_increment());
}

fn counter(context: &Opened) -> u64 {
    let read = authorized(
        CommandCode::NV_READ,
        &[NV_INDEX, NV_INDEX],
        1,
        &[0, 8, 0, 0],
    );
    let response = context.ok(&read);
    u64::from_be_bytes(response[16..24].try_into().expect("eight bytes"))
}

#[test]
#[ignore = "a scene of another test"]
fn scene_all_is_closed() {
    let Some(chain) = about() else { return };
    let module = Loaded::new();
    let context = module.open(&chain);
    assert!(context.works());
    // SAFETY: that is what this test is about; std has nothing open here.
    assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    for _ in 0..3 {
        // A failure or, where it takes no descriptor, an answer; the command
        // or the connection may have been made anew as well.
        let (code, _) = context.call(&get_random(10));
        let known = [rc::SUCCESS, rc::IO_ERROR, rc::NO_CONNECTION];
        assert!(known.contains(&code), "0x{code:x}: {}", module.last_error());
    }
    drop(context);
    assert!(module.open(&chain).works(), "a new context");
    assert_eq!(proc::children(), [0_i32; 0]);
    assert_eq!(proc::threads(), 2);
}

#[test]
fn a_program_that_closes_all_descriptors_gets_errors_and_can_open_again() {
    let chains = Chains::new();
    for chain in chains.ours() {
        play("scene_all_is_closed", chain);
    }
}

#[test]
#[ignore = "a scene of another test"]
fn scene_daemon() {
    let Some(path) = about() else { return };
    let chain = format!("libtpms:{path}");
    let module = Loaded::new();
    let context = module.open(&chain);
    define_counter(&context);
    context.ok(&create_primary_ecc()); // there is a thread, too
    // SAFETY: forks; the parent, with this test's harness, exits at once.
    #[allow(deprecated)]
    let daemon = unsafe { libc::daemon(1, 1) };
    assert_eq!(daemon, 0);
    // From here on whoever started this looks for the file alone.
    let (code, _) = context.call(&get_random(10));
    assert_eq!(code, rc::BAD_CONTEXT);
    assert!(module.last_error().contains("before fork()"));
    drop(context);
    let own = module.open(&chain);
    own.ok(&nv_increment());
    own.ok(&create_primary_ecc());
    let number = counter(&own);
    drop(own);
    std::fs::write(format!("{path}.told"), number.to_string()).expect("written");
    // SAFETY: ends this process, whose harness thread was left behind.
    unsafe { libc::_exit(0) };
}

/// daemon(3) forks, and the parent exits. The state file is then free, and has all
/// that was answered.
#[test]
fn a_program_that_becomes_a_daemon_opens_its_state_file_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    let mut parent = scene("scene_daemon", &path).spawn().expect("started");
    assert!(parent.wait().expect("waited for").success());
    let told = folder.path().join("state.told");
    proc::until("the daemon", || told.exists());
    proc::until("all it says", || {
        std::fs::read_to_string(&told).is_ok_and(|told| told == "2")
    });
}

#[test]
#[ignore = "a scene of another test"]
fn scene_spawns() {
    let Some(chains) = about() else { return };
    let list = || {
        // std's spawn is posix_spawn(3), which runs no fork handlers.
        let ls = Command::new("ls").args(["-l", "/proc/self/fd"]).output();
        let list = proc::printed(ls.expect("ls runs"));
        list.lines().filter(|line| line.contains("->")).count()
    };
    let before = list();
    let module = Loaded::new();
    let contexts: Vec<_> = chains.lines().map(|chain| module.open(chain)).collect();
    for _ in 0..3 {
        assert!(contexts.iter().all(Opened::works));
        assert_eq!(list(), before, "descriptors of ours in another program");
    }
}

#[test]
fn a_program_that_spawns_others_hands_them_nothing_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let swtpm = Swtpm::tcp();
    let chains = format!(
        "libtpms\nlibtpms:{0}/state\nswtpm:{1}\npcap,file={0}/log:libtpms",
        folder.path().display(),
        swtpm.conf()
    );
    play("scene_spawns", chains);
}

#[test]
#[ignore = "a scene of another test"]
fn scene_another_user() {
    let Some(path) = about() else { return };
    let module = Loaded::new();
    let context = module.open(&format!("libtpms:{path}"));
    define_counter(&context);
    let before = std::fs::read(&path).expect("a state");
    // SAFETY: numbers only; glibc changes every thread.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setresgid(NOBODY, NOBODY, 0), 0);
        assert_eq!(libc::setresuid(NOBODY, NOBODY, 0), 0);
    }
    for _ in 0..2 {
        let (code, _) = context.call(&nv_increment());
        let text = module.last_error();
        assert_eq!(code, rc::IO_ERROR, "{text}");
        assert!(text.contains(&path) && text.contains("denied"), "{text}");
    }
    // SAFETY: as before.
    unsafe { assert_eq!(libc::setresuid(0, 0, 0), 0) };
    assert!(
        std::fs::read(&path).expect("a state") == before,
        "it is whole"
    );
    // The first increment was done, and could not be stored.
    assert_eq!(counter(&context), 2);
    context.ok(&nv_increment());
    assert_eq!(counter(&context), 3);
}

#[test]
fn a_program_that_becomes_another_user_is_told_that_its_state_file_is_out_of_reach() {
    let folder = tempfile::tempdir().expect("a folder");
    let private = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), private).expect("ours");
    play("scene_another_user", folder.path().join("state"));
}

#[test]
#[ignore = "a scene of another test"]
fn scene_another_folder() {
    let Some(folder) = about() else { return };
    let module = Loaded::new();
    std::env::set_current_dir(&folder).expect("there");
    let contexts = [
        "libtpms:state",
        "pcap,file=log:libtpms",
        "swtpm:path=tpm",
        "swtpm:path=tpm,persistent=1",
    ];
    let contexts = contexts.map(|chain| module.open(chain));
    std::env::set_current_dir("/").expect("there");
    // The one that shares its connection has swtpm to itself until it goes.
    let [state, log, each, shared] = contexts;
    assert!(shared.works());
    drop(shared);
    define_counter(&state);
    assert!(log.works() && each.works());
    drop(state);
    assert_eq!(counter(&module.open(&format!("libtpms:{folder}/state"))), 1);
}

#[test]
fn relative_paths_stay_those_of_the_folder_that_the_program_was_in() {
    let swtpm = Swtpm::unix();
    let conf = swtpm.conf();
    let socket = Path::new(conf.strip_prefix("path=").expect("a path"));
    let folder = socket.parent().expect("a folder");
    play("scene_another_folder", folder);
    assert!(folder.join("log").metadata().expect("a recording").len() > 0);
}

#[test]
#[ignore = "a scene of another test"]
fn scene_open_umask() {
    let Some(folder) = about() else { return };
    // SAFETY: a number.
    unsafe { libc::umask(0) };
    let module = Loaded::new();
    let state = format!("libtpms:{folder}/state");
    let log = format!("pcap,file={folder}/log:libtpms");
    for chain in [&state, &log] {
        let context = module.open(chain);
        define_counter(&context);
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        }
    }
}

/// Keys are in the state file, and in a recording whatever was sent.
#[test]
fn files_are_their_owners_alone_whatever_the_umask() {
    let folder = tempfile::tempdir().expect("a folder");
    play("scene_open_umask", folder.path());
    let response = rusttcti::open(&format!("libtpms:{}/state", folder.path().display()))
        .and_then(|mut tpm| call(&mut *tpm, &get_random(4)));
    assert_eq!(response_code(&response.expect("an answer")), 0);
}
