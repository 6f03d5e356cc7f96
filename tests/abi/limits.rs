// SPDX-License-Identifier: BSD-2-Clause
//! Programs that run out of descriptors, threads, memory or stack. Each runs in a
//! separate process (a scene), because limits apply to a process.

use std::os::fd::AsRawFd;

use rusttcti::wire::CommandCode;
use rusttcti_kit::again;
use rusttcti_kit::chains::{Chains, SHELL_TPM};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::loaded::Loaded;
use rusttcti_kit::proc;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::*;
use rusttcti_kit::vtable::rc;

/// The variable that tells a scene its subject.
const CHAIN: &str = "RUSTTCTI_TEST_CHAIN";

fn play(scene: &str, chain: &str) {
    again::played(
        again::only!(scene)
            .env(CHAIN, chain)
            .env("RUSTTCTI_MODULE_DIR", rusttcti_kit::module::dir())
            .env("RUSTTCTI_FSYNC", "0"),
    );
}

fn chain() -> Option<String> {
    std::env::var(CHAIN).ok()
}

fn limit(resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a place for the limits, and limits.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        // 32 bits where addresses have them: no limit is all ones there, too.
        limit.rlim_cur = (soft as libc::rlim_t).min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

#[test]
#[ignore = "a scene of another test"]
fn scene_few_descriptors() {
    let Some(chain) = chain() else { return };
    let module = Loaded::new();
    assert!(module.open(&chain).works());
    // Whoever started this may have left gaps.
    let inherited = *proc::fds().last().expect("standard streams");
    let open = || std::fs::File::open("/dev/null").expect("a file");
    let mut filling = vec![open()];
    while filling
        .last()
        .is_some_and(|file| file.as_raw_fd() < inherited)
    {
        filling.push(open());
    }
    let before = proc::fds();
    let highest = *before.last().expect("standard streams") as u64;
    let (mut refused, mut failed) = (0, 0);
    for room in 0..16 {
        limit(libc::RLIMIT_NOFILE, highest + 1 + room);
        match module.try_open(&chain) {
            Err((code, text)) => {
                // libtpms is loaded by the loader, a host's name is looked up
                // by the resolver: each tells it in its words.
                let known = [rc::IO_ERROR, rc::NOT_SUPPORTED, rc::NO_CONNECTION];
                assert!(known.contains(&code), "0x{code:x}: {text}");
                let text = text.to_lowercase();
                assert!(
                    text.contains("too many open files") || text.contains("error 24"),
                    "{chain}, room for {room}: 0x{code:x}, {text}"
                );
                refused += 1;
            }
            Ok(context) => {
                let (code, _) = context.call(&get_random(10));
                if code != rc::SUCCESS {
                    let text = module.last_error();
                    assert_eq!(code, rc::IO_ERROR, "{text}");
                    assert!(
                        text.to_lowercase().contains("too many open files"),
                        "{text}"
                    );
                    failed += 1;
                }
                limit(libc::RLIMIT_NOFILE, 1000);
                assert!(context.works(), "once there are descriptors again");
            }
        }
        limit(libc::RLIMIT_NOFILE, 1000);
        assert_eq!(proc::fds(), before, "with room for {room}");
    }
    assert!(
        refused + failed > 0 && refused + failed < 16,
        "{chain}: {refused} refused, {failed} failed; {before:?}"
    );
    assert_eq!(proc::children(), [0_i32; 0]);
    assert!(module.open(&chain).works());
}

#[test]
fn without_descriptors_opening_says_so_and_works_when_there_are_some() {
    let chains = Chains::new();
    for chain in chains.ours() {
        play("scene_few_descriptors", &chain);
    }
}

#[test]
#[ignore = "a scene of another test"]
fn scene_no_threads() {
    let Some(chain) = chain() else { return };
    let module = Loaded::new();
    let context = module.open(&chain);
    // No limit of processes holds for root.
    rusttcti_kit::rights::become_nobody_on_this_thread();
    limit(libc::RLIMIT_NPROC, 0);
    for _ in 0..2 {
        context.ok(&get_random(10));
        let key = context.ok(&create_primary_ecc());
        context.ok(&rusttcti_kit::commands::command(
            CommandCode::FLUSH_CONTEXT,
            &key[10..14],
        ));
    }
    assert_eq!(proc::threads(), 2, "the test program's own");
    let Err((code, text)) = module.try_open(SHELL_TPM) else {
        panic!("a command without a process")
    };
    assert_eq!(code, rc::IO_ERROR, "{text}");
    assert!(text.contains("cannot run \""), "{text}");
}

/// If no thread can be started, the caller of a long command waits.
#[test]
fn without_threads_the_embedded_tpm_answers_long_commands_too() {
    play("scene_no_threads", "libtpms");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_little_memory() {
    let Some(chain) = chain() else { return };
    let module = Loaded::new();
    assert!(module.open(&chain).works());
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("pages");
    let (mut opened, mut refused) = (0, 0);
    for room in 0..40 {
        limit(libc::RLIMIT_AS, pages * 4096 + room * 16 * 1024);
        match module.try_open(&chain) {
            Ok(context) => {
                let _ = context.works();
                opened += 1;
            }
            Err(_) => refused += 1,
        }
        limit(libc::RLIMIT_AS, u64::MAX);
    }
    assert!(opened > 0, "{opened} of them, {refused} were refused");
    assert!(module.open(&chain).works());
}

/// Opens and runs a command, with a little more memory each time. libtpms is left
/// out: it crashes if memory is short while a TPM is made.
#[test]
fn without_memory_opening_fails_and_ends_no_program() {
    let swtpm = Swtpm::tcp();
    for chain in [&format!("swtpm:{}", swtpm.conf()), SHELL_TPM] {
        play("scene_little_memory", chain);
    }
}

#[test]
#[ignore = "a scene of another test"]
fn scene_a_thousand() {
    let module = Loaded::new();
    let (before, threads) = (proc::fds(), proc::threads());
    let mut tpms: Vec<_> = (0..1000).map(|_| module.open("libtpms")).collect();
    let mut seen = std::collections::HashSet::new();
    for tpm in &tpms {
        assert!(
            seen.insert(tpm.ok(&get_random(16))),
            "the same random bytes"
        );
    }
    assert_eq!(
        proc::fds(),
        before,
        "an open TPM in memory has no descriptor"
    );
    assert_eq!(
        proc::threads(),
        threads,
        "nor a thread before a long command"
    );
    while !tpms.is_empty() {
        drop(tpms.swap_remove(tpms.len() / 3));
    }
    assert!(module.open("libtpms").works());
}

#[test]
fn a_thousand_embedded_tpms_are_open_at_once() {
    play("scene_a_thousand", "");
}

#[test]
#[ignore = "a scene of another test"]
fn scene_little_stack() {
    let Some(chain) = chain() else { return };
    let module = Loaded::new();
    std::thread::scope(|scope| {
        let little = std::thread::Builder::new().stack_size(64 << 10);
        let used = little.spawn_scoped(scope, || {
            let context = module.open(&chain);
            for _ in 0..3 {
                assert!(context.works());
            }
            if chain.starts_with("libtpms") {
                context.ok(&create_primary_ecc());
            }
            let Err((code, _)) = module.try_open("nosuchtpm") else {
                panic!("it opened")
            };
            assert_eq!(code, rc::BAD_VALUE);
        });
        used.expect("a thread").join().expect("it worked");
    });
}

#[test]
fn a_thread_with_a_stack_of_64_kib_may_call_the_module() {
    let chains = Chains::new();
    for chain in chains.ours().into_iter().chain([chains.c_module()]) {
        play("scene_little_stack", &chain);
    }
}

#[test]
fn a_module_within_itself_again_and_again_is_refused_while_there_is_stack() {
    let chain = format!("{}libtpms", "rusttcti:".repeat(400));
    let mut tool = rusttcti_kit::module::program("tpm2_getrandom");
    let output = tool.args(["-T", &chain, "4"]).output().expect("tpm2-tools");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("chains are nested more than"), "{told}");
}
