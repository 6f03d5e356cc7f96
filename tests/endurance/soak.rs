// SPDX-License-Identifier: BSD-2-Clause
//! Opens, uses and closes every transport many times: no resource of the process grows.
//!
//! `make soak` runs this with RUSTTCTI_SOAK=100000 rounds; the default is a few
//! hundred. Each transport is tested in two ways, in a separate process: once with the
//! module loaded and unloaded in each round, once with contexts that are only opened
//! and finalized. The peers run in other processes.

use std::path::Path;
use std::time::Instant;

use rusttcti::wire::CommandCode;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::loaded::{Loaded, Opened};
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::proc;
use rusttcti_kit::pty::Pty;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::vtable::rc;
use rusttcti_kit::{again, module};

const ROUNDS: &str = "RUSTTCTI_SOAK";
const CHAIN: &str = "RUSTTCTI_SOAK_CHAIN";
const WAY: &str = "RUSTTCTI_SOAK_WAY";

/// Bytes that malloc may have given out more in the end, which is less than the
/// look itself takes: none is lost in any round.
const SLACK: u64 = 4 << 10;

fn rounds() -> u64 {
    std::env::var(ROUNDS).map_or(200, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Soaks a chain in both ways, each in a process of its own.
fn soak(name: &str, chain: &str) {
    for way in ["load", "init"] {
        let output = again::played(
            again::only!("scene_soak")
                .env(CHAIN, chain)
                .env(WAY, way)
                .env("RUSTTCTI_MODULE_DIR", module::dir())
                .env("RUSTTCTI_FSYNC", "0")
                // What a thread keeps for its next malloc counts as in use.
                .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"),
        );
        let told = String::from_utf8_lossy(&output.stdout);
        let told = told.lines().find_map(|line| line.split_once("FIGURES "));
        println!("{name}, {way}: {}", told.expect("a line of figures").1);
    }
}

/// The resources of a process.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    /// Bytes that malloc gave and did not get back.
    heap: u64,
    resident_kib: u64,
    mappings: usize,
    fds: Vec<i32>,
    threads: usize,
    children: Vec<i32>,
}

impl Footprint {
    fn now() -> Self {
        // SAFETY: no arguments but a number; the loader and the module's own
        // code use the same heap.
        let heap = unsafe {
            libc::malloc_trim(0);
            let heap = libc::mallinfo2();
            (heap.uordblks + heap.hblkhd) as u64
        };
        let read = |file: &str| std::fs::read_to_string(file).expect("procfs");
        let status = read("/proc/self/status");
        // Without pages of files, which this program's own code touches as it goes.
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let resident = resident.and_then(|text| text.split_whitespace().next());
        Self {
            heap,
            resident_kib: resident.expect("RssAnon").parse().expect("KiB"),
            mappings: read("/proc/self/maps").lines().count(),
            fds: proc::fds(),
            threads: proc::threads(),
            children: proc::children(),
        }
    }
}

/// Runs one command, and checks that its bytes differ from the time before.
fn use_once(context: &Opened, before: &mut Vec<u8>) {
    let (code, response) = context.call(&get_random(10));
    if code == rc::NOT_IMPLEMENTED {
        return; // the transport `null`
    }
    assert_eq!(code, rc::SUCCESS);
    assert_eq!(response.len(), 22);
    assert_eq!(response_code(&response), 0);
    assert_ne!(response, *before, "an old response");
    *before = response;
}

/// Runs the `rounds` of one process.
fn repeat(rounds: u64, way: &str, chain: &str, before: &mut Vec<u8>) {
    let has_thread = chain.starts_with("libtpms");
    let mut round = |number, module: &Loaded| {
        let context = module.open(chain);
        use_once(&context, before);
        if has_thread && number % 10 == 0 {
            // TPM2_SelfTest, which runs on a thread of its own.
            context.ok(&command(CommandCode::SELF_TEST, &[0]));
        }
    };
    match way {
        "load" => (0..rounds).for_each(|number| round(number, &Loaded::new())),
        _ => {
            let module = Loaded::new();
            (0..rounds).for_each(|number| round(number, &module));
        }
    }
}

#[test]
#[ignore = "the process that the other tests look at"]
fn scene_soak() {
    let (Ok(chain), Ok(way)) = (std::env::var(CHAIN), std::env::var(WAY)) else {
        return;
    };
    let rounds = rounds();
    let mut response = Vec::with_capacity(4096);
    repeat((rounds / 10).min(1000), &way, &chain, &mut response);
    let before = Footprint::now();
    let begun = Instant::now();
    repeat(rounds, &way, &chain, &mut response);
    let seconds = begun.elapsed().as_secs_f64();
    let after = Footprint::now();
    println!(
        "FIGURES {rounds} rounds in {seconds:.1} s, {:.0} a second; heap {:+} bytes, resident {} to {} KiB, \
         mappings {} to {}, descriptors {} to {}, threads {} to {}, children {} to {}",
        rounds as f64 / seconds,
        after.heap as i64 - before.heap as i64,
        before.resident_kib,
        after.resident_kib,
        before.mappings,
        after.mappings,
        before.fds.len(),
        after.fds.len(),
        before.threads,
        after.threads,
        before.children.len(),
        after.children.len(),
    );
    assert!(after.heap <= before.heap + SLACK, "the heap grew");
    assert!(after.resident_kib <= before.resident_kib + 512, "memory");
    assert!(after.mappings <= before.mappings, "mappings");
    assert_eq!(after.fds, before.fds);
    assert_eq!(after.threads, before.threads);
    assert_eq!(after.children, before.children);
}

#[test]
fn null_leaves_nothing_behind() {
    soak("null", "null");
}

#[test]
fn an_embedded_tpm_leaves_nothing_behind() {
    soak("libtpms", "libtpms");
}

/// The files of a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries
        .map(|entry| name(entry.expect("an entry")))
        .collect()
}

#[test]
fn a_state_file_is_all_that_is_left_of_a_tpm() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    soak("libtpms:STATE", &format!("libtpms:{}", path.display()));
    assert_eq!(files(folder.path()), ["state"]);
}

#[test]
fn swtpm_over_tcp_leaves_nothing_behind() {
    let swtpm = Swtpm::tcp();
    soak("swtpm tcp", &format!("swtpm:{}", swtpm.conf()));
}

#[test]
fn swtpm_over_a_unix_socket_leaves_nothing_behind() {
    let swtpm = Swtpm::unix();
    soak("swtpm unix", &format!("swtpm:{}", swtpm.conf()));
}

#[test]
fn swtpm_with_a_connection_that_persists_leaves_nothing_behind() {
    let swtpm = Swtpm::unix();
    let chain = format!("swtpm:{},persistent=1", swtpm.conf());
    soak("swtpm unix persistent", &chain);
}

fn soak_mssim(name: &str, simulator: &Simulator) {
    simulator.start();
    soak(name, &format!("mssim:{}", simulator.conf()));
}

#[test]
fn mssim_over_tcp_leaves_nothing_behind() {
    soak_mssim("mssim tcp", &Simulator::tcp());
}

#[test]
fn mssim_over_unix_sockets_leaves_nothing_behind() {
    soak_mssim("mssim unix", &Simulator::unix());
}

/// The command ends with a byte that ends a line, and the shell's `read` waits
/// for no more. Its process id is the answer.
#[test]
fn cmd_leaves_nothing_behind() {
    let answer = r"printf '\200\001\000\000\000\026\000\000\000\000\000\012%010d' $$";
    soak("cmd", &format!("cmd:read line; {answer}; read line"));
}

#[test]
fn pcap_leaves_nothing_behind_but_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tpm.pcapng");
    let swtpm = Swtpm::unix();
    let chain = format!("pcap,file={}:swtpm:{}", file.display(), swtpm.conf());
    soak("pcap over swtpm unix", &chain);
    assert_eq!(files(folder.path()), ["tpm.pcapng"]);
}

/// A C module of tpm2-tss, which our chain loads by its file's name.
#[test]
fn a_c_module_in_a_chain_leaves_nothing_behind() {
    let swtpm = Swtpm::tcp();
    let chain = format!("libtss2-tcti-swtpm.so.0:{}", swtpm.conf());
    soak("tpm2-tss's swtpm module", &chain);
}

/// Where there is no TPM, a terminal has to do.
#[test]
fn device_leaves_nothing_behind() {
    if Path::new("/dev/tpmrm0").exists() {
        return soak("device", "device:/dev/tpmrm0");
    }
    let mut pty = Pty::new();
    let path = pty.path().to_owned();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0_u64.. {
                if pty.command() != get_random(10) {
                    return;
                }
                let head = [0x80, 1, 0, 0, 0, 22, 0, 0, 0, 0, 0, 10, 0, 0];
                pty.answer(&[&head[..], &number.to_be_bytes()].concat());
            }
        });
        let soaked = std::panic::catch_unwind(|| soak("device", &format!("device:{path}")));
        // Any other command ends the device.
        std::fs::write(&path, command(CommandCode(0), &[])).expect("written");
        if let Err(panic) = soaked {
            std::panic::resume_unwind(panic);
        }
    });
}
