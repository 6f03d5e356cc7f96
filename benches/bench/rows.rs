// SPDX-License-Identifier: BSD-2-Clause
//! The rows of the table.

use std::sync::Barrier;
use std::time::{Duration, Instant as Clock};

use rusttcti::{Context, Tcti, TctiLdr};

use crate::bare::{self, Direct};
use crate::counts::{self, Calls};
use crate::inside::Instant;
use crate::measure::{each, in_turn, median};
use crate::objects::{Abrmd, Objects};
use crate::peers::{self, Raw, our_module, ours, round};
use crate::sessions::{Guard, Program, Work};
use crate::table::{Limit, Row, Unit};
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;

/// One row: what it is, and how it is measured.
pub struct Measured {
    pub name: &'static str,
    /// None where this machine lacks what it is to be held against.
    pub measure: fn() -> Option<Row>,
}

macro_rules! rows {
    ($($name:literal = $measure:expr,)*) => {
        &[$(Measured { name: $name, measure: || Option::from($measure()) },)*]
    };
}

/// No more than the other side takes.
const NOT_MORE: Limit = Limit::Ratio(1.0);
const DEBIANS: &str = "Debian's module";

pub const ALL: &[Measured] = rows! {
    "bridge: round trip, transport answers at once" = bridge_time,
    "bridge: instructions a round trip" = bridge_instructions,
    "libtpms: GetRandom(16)" = libtpms_get_random,
    "libtpms, state file: GetRandom(16)" = libtpms_upstream,
    "libtpms: open to first response, and closed" = (|| libtpms_open(1)),
    "libtpms: the same with 64 others open" = (|| libtpms_open(64)),
    "libtpms: the same, the module loaded for it and unloaded" = libtpms_load,
    "libtpms: commands a second, 1 TPM" = (|| libtpms_throughput(1)),
    "libtpms: commands a second, 2 TPMs on 2 threads" = (|| libtpms_throughput(2)),
    "libtpms: commands a second, 64 TPMs on 2 threads" = (|| libtpms_throughput(64)),
    "libtpms: memory of each TPM beyond the first" = libtpms_memory,
    "swtpm tcp, host=localhost: GetRandom(16)" = swtpm_tcp,
    "swtpm tcp: GetRandom(16), held against connect, write, read, close in C" = swtpm_tcp_bare,
    "swtpm unix: GetRandom(16), held against connect, write, read, close in C" = swtpm_unix_bare,
    "swtpm persistent=1, tcp: GetRandom(16)" = (|| swtpm_persistent(&Swtpm::tcp())),
    "swtpm persistent=1, unix: GetRandom(16)" = (|| swtpm_persistent(&Swtpm::unix())),
    "swtpm tcp: system calls a command" = swtpm_calls,
    "swtpm persistent=1: system calls a command" = swtpm_persistent_calls,
    "swtpm tcp: dlopen, init, finalize, dlclose" = swtpm_open,
    "swtpm tcp: open to first response, and closed" = swtpm_first,
    "mssim tcp: GetRandom(16)" = mssim_tcp,
    "mssim unix: GetRandom(16)" = mssim_unix,
    "mssim tcp: system calls a command" = mssim_calls,
    "cmd: GetRandom(16) of a child that answers at once" = cmd,
    "cmd: system calls a command" = cmd_calls,
    "pcap: GetRandom(16) of the embedded TPM" = pcap,
    "rm: what it adds to a command of the embedded TPM" = (|| added("rm", 150.0)),
    "rm,share=0 over swtpm tcp: GetRandom(16)" = (|| rm_over_swtpm(0, Limit::Ratio(1.05))),
    "rm,share=1 over swtpm tcp: GetRandom(16)" = (|| rm_over_swtpm(1, Limit::None)),
    "rm,share=0 over swtpm tcp: ReadPublic of 6 objects in turn" = (|| thrashing(0, "", Limit::Ratio(0.5))),
    "rm,share=0 over swtpm persistent=1, tcp: ReadPublic of 6 objects in turn" = (|| thrashing(0, ",persistent=1", Limit::Ratio(0.5))),
    "rm,share=1 over swtpm tcp: ReadPublic of 6 objects in turn" = (|| thrashing(1, "", Limit::None)),
    "wrap: what it adds to GetRandom(16), the TPM's part included" = (|| wrap(Work::GetRandom)),
    "wrap: what it adds to NV_Read of 64 bytes, the TPM's part included" = (|| wrap(Work::NvRead)),
    "wrap: Sign (ECDSA P-256) by ESYS, the whole command" = wrap_whole,
    "trace: what it adds to a command, to a file" = trace,
    "fault: what it adds to a command that it does not strike" = (|| added("fault,on=Startup,drop", 200.0)),
    "retry: what it adds to a command" = (|| added("retry", 200.0)),
    "deadline: what it adds to a command" = (|| added("deadline,ms=30000", 200.0)),
    "libtpms: tpm2_getrandom, the whole process" = whole_process,
    "swtpm tcp: peak memory of tpm2_getrandom" = peak_memory,
};

fn time(pair: (f64, f64), what: &'static str, limit: Limit) -> Row {
    Row {
        ours: pair.0,
        theirs: Some((pair.1, what)),
        unit: Unit::Time,
        limit,
    }
}

fn alone(ours: f64, unit: Unit, limit: Limit) -> Row {
    Row {
        ours,
        theirs: None,
        unit,
        limit,
    }
}

fn bridge_time() -> Row {
    let context = Context::new(Instant);
    let raw = Raw::new(context.as_ptr());
    let mut response = [0; 4096];
    let mut batch = || each(10_000, || raw.round(&mut response));
    batch();
    alone(
        median((0..51).map(|_| batch()).collect()),
        Unit::Time,
        Limit::Value(100.0),
    )
}

fn bridge_instructions() -> Row {
    alone(
        counts::bridge_instructions(),
        Unit::Instructions,
        Limit::None,
    )
}

/// The embedded TPM, as a C program of this process uses it.
fn embedded() -> Context<Box<dyn Tcti>> {
    match rusttcti::open("libtpms") {
        Ok(tpm) => Context::new(tpm),
        Err(error) => panic!("libtpms: {}", error.report()),
    }
}

fn libtpms_get_random() -> Row {
    let direct = Direct::open();
    let context = embedded();
    let raw = Raw::new(context.as_ptr());
    let mut response = [0; 4096];
    let pair = in_turn(
        401,
        || each(500, || raw.round(&mut response)),
        || direct.rounds(500),
    );
    time(pair, "TPMLIB_Process", Limit::Ratio(1.10))
}

/// Debian has that module from tpm2-tss 4.0 on.
fn libtpms_upstream() -> Option<Row> {
    if !TctiLdr::is_available("libtpms") {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().to_str().expect("a path in UTF-8");
    let mut ours = ours(&format!("libtpms:{state}/ours"));
    // It leaves a file NVChip in the current folder, besides.
    let here = std::env::current_dir().expect("a current folder");
    std::env::set_current_dir(&folder).expect("a folder");
    let mut theirs = peers::open("libtpms", &format!("{state}/theirs"));
    peers::start(&mut theirs);
    std::env::set_current_dir(here).expect("the folder of before");
    let pair = in_turn(
        201,
        || each(100, || round(&mut ours)),
        || each(100, || round(&mut theirs)),
    );
    Some(time(pair, "tpm2-tss's module", NOT_MORE))
}

/// What a program pays for one more TPM while it has `others`: the module is loaded,
/// as libtpms's libraries are for the C side.
fn libtpms_open(others: usize) -> Row {
    let _others: Vec<_> = (0..others).map(|_| ours("libtpms")).collect();
    opened(Limit::Ratio(1.30))
}

/// The module makes its OpenSSL context once each time it is loaded, and C does not.
fn libtpms_load() -> Row {
    opened(Limit::None)
}

fn opened(limit: Limit) -> Row {
    let pair = in_turn(
        31,
        || each(1, || round(&mut ours("libtpms"))),
        Direct::whole,
    );
    time(pair, "copy, dlopen, TPMLIB_MainInit, Startup in C", limit)
}

fn libtpms_throughput(tpms: usize) -> Row {
    const SPAN: Duration = Duration::from_millis(500);
    let threads = tpms.min(2);
    let contexts: Vec<_> = (0..tpms).map(|_| embedded()).collect();
    let start = Barrier::new(threads);
    let count = |mine: &[Context<Box<dyn Tcti>>]| {
        let mine: Vec<_> = mine
            .iter()
            .map(|context| Raw::new(context.as_ptr()))
            .collect();
        let mut response = [0; 4096];
        start.wait();
        let (began, mut done) = (Clock::now(), 0);
        while began.elapsed() < SPAN {
            for raw in &mine {
                (0..16).for_each(|_| raw.round(&mut response));
            }
            done += 16 * mine.len();
        }
        done as f64 / began.elapsed().as_secs_f64()
    };
    let rate = std::thread::scope(|scope| {
        let running: Vec<_> = contexts
            .chunks(tpms / threads)
            .map(|mine| scope.spawn(|| count(mine)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a thread"))
            .sum()
    });
    alone(rate, Unit::PerSecond, Limit::None)
}

fn libtpms_memory() -> Row {
    alone(counts::memory_per_tpm(64), Unit::KiB, Limit::None)
}

fn swtpm_tcp() -> Row {
    let swtpm = Swtpm::tcp();
    let mut ours = ours(&format!("swtpm:{}", swtpm.conf()));
    let mut theirs = peers::open("swtpm", &swtpm.conf());
    let pair = in_turn(
        1001,
        || each(1, || round(&mut ours)),
        || each(1, || round(&mut theirs)),
    );
    time(pair, DEBIANS, Limit::Ratio(0.90))
}

fn held_against_reconnecting(swtpm: &Swtpm) -> Row {
    let mut ours = ours(&format!("swtpm:{}", swtpm.conf()));
    let pair = in_turn(
        1001,
        || each(1, || round(&mut ours)),
        || bare::reconnecting(&peers::address(swtpm), 1),
    );
    time(pair, "bare C", Limit::None)
}

fn swtpm_tcp_bare() -> Row {
    held_against_reconnecting(&Swtpm::tcp())
}

fn swtpm_unix_bare() -> Row {
    held_against_reconnecting(&Swtpm::unix())
}

/// swtpm serves one connection at a time: each side has it for a batch.
fn swtpm_persistent(swtpm: &Swtpm) -> Row {
    const BATCH: u32 = 200;
    let chain = format!("swtpm:{},persistent=1", swtpm.conf());
    let pair = in_turn(
        31,
        || {
            let mut ours = ours(&chain);
            round(&mut ours);
            each(BATCH, || round(&mut ours))
        },
        || bare::persistent(&peers::address(swtpm), BATCH),
    );
    time(pair, "write and read in C", Limit::Ratio(1.10))
}

fn calls(ours: f64, theirs: Option<f64>, limit: Limit) -> Row {
    Row {
        ours,
        theirs: theirs.map(|theirs| (theirs, DEBIANS)),
        unit: Unit::Calls,
        limit,
    }
}

fn swtpm_calls() -> Row {
    let swtpm = Swtpm::tcp();
    let ours = counts::system_calls(
        &our_module(),
        &format!("swtpm:{}", swtpm.conf()),
        Calls::OfAll,
    );
    calls(
        ours,
        Some(counts::system_calls("swtpm", &swtpm.conf(), Calls::OfAll)),
        Limit::Value(5.0),
    )
}

fn swtpm_persistent_calls() -> Row {
    let swtpm = Swtpm::tcp();
    let chain = format!("swtpm:{},persistent=1", swtpm.conf());
    calls(
        counts::system_calls(&our_module(), &chain, Calls::OfAll),
        None,
        Limit::Value(2.0),
    )
}

fn swtpm_open() -> Row {
    let swtpm = Swtpm::tcp();
    let chain = format!("swtpm:{}", swtpm.conf());
    let pair = in_turn(
        101,
        || each(1, || drop(ours(&chain))),
        || each(1, || drop(peers::open("swtpm", &swtpm.conf()))),
    );
    time(pair, DEBIANS, NOT_MORE)
}

fn swtpm_first() -> Row {
    let swtpm = Swtpm::tcp();
    let chain = format!("swtpm:{}", swtpm.conf());
    let pair = in_turn(
        101,
        || each(1, || round(&mut ours(&chain))),
        || each(1, || round(&mut peers::open("swtpm", &swtpm.conf()))),
    );
    time(pair, DEBIANS, NOT_MORE)
}

/// The simulator has one client at a time: each side talks to one of its own.
fn mssim_tcp() -> Row {
    let (a, b) = (Simulator::tcp(), Simulator::tcp());
    let mut ours = ours(&format!("mssim:{}", a.conf()));
    let mut theirs = peers::open("mssim", &b.conf());
    peers::start(&mut ours);
    peers::start(&mut theirs);
    let pair = in_turn(
        31,
        || each(1, || round(&mut ours)),
        || each(1, || round(&mut theirs)),
    );
    time(pair, DEBIANS, Limit::Ratio(0.01))
}

fn mssim_unix() -> Row {
    let simulator = Simulator::unix();
    let mut ours = ours(&format!("mssim:{}", simulator.conf()));
    peers::start(&mut ours);
    let batch = (0..501).map(|_| each(1, || round(&mut ours)));
    alone(median(batch.collect()), Unit::Time, Limit::None)
}

fn mssim_calls() -> Row {
    let simulator = Simulator::tcp();
    let ours = counts::system_calls(
        &our_module(),
        &format!("mssim:{}", simulator.conf()),
        Calls::OfAll,
    );
    let theirs = counts::system_calls("mssim", &simulator.conf(), Calls::OfAll);
    calls(ours, Some(theirs), NOT_MORE)
}

/// A command line whose program answers each command at once.
fn answering_child() -> String {
    let program = std::env::current_exe().expect("this program has a file");
    format!("exec {} --inside answer", program.display())
}

fn cmd() -> Row {
    let child = answering_child();
    let mut ours = ours(&format!("cmd:{child}"));
    let mut theirs = peers::open("cmd", &child);
    let pair = in_turn(
        201,
        || each(20, || round(&mut ours)),
        || each(20, || round(&mut theirs)),
    );
    time(pair, DEBIANS, NOT_MORE)
}

fn cmd_calls() -> Row {
    let child = answering_child();
    let ours = counts::system_calls(&our_module(), &format!("cmd:{child}"), Calls::OfTheCaller);
    calls(
        ours,
        Some(counts::system_calls("cmd", &child, Calls::OfTheCaller)),
        NOT_MORE,
    )
}

/// Both record what goes to an embedded TPM of this module's, each in a file.
fn pcap() -> Row {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ours");
    let mut ours = ours(&format!("pcap,file={}:libtpms", file.display()));
    // SAFETY: no other thread of this program is running now.
    unsafe { std::env::set_var("TCTI_PCAP_FILE", folder.path().join("theirs")) };
    let mut theirs = peers::open("pcap", &format!("{}:libtpms", our_module()));
    let pair = in_turn(
        101,
        || each(50, || round(&mut ours)),
        || each(50, || round(&mut theirs)),
    );
    time(pair, DEBIANS, NOT_MORE)
}

/// The time that a layer adds to a command of an embedded TPM, which may be `limit`.
fn added(layer: &str, limit: f64) -> Row {
    alone(time_added(layer), Unit::Time, Limit::Value(limit))
}

/// A line is written for each command.
fn trace() -> Row {
    let folder = tempfile::tempdir().expect("a folder");
    let layer = format!("trace,file={}", folder.path().join("trace").display());
    alone(time_added(&layer), Unit::Time, Limit::None)
}

fn time_added(layer: &str) -> f64 {
    let mut with = ours(&format!("{layer}:libtpms"));
    let mut without = ours("libtpms");
    let (with, without) = in_turn(
        101,
        || each(500, || round(&mut with)),
        || each(500, || round(&mut without)),
    );
    with - without
}

fn rm_over_swtpm(share: u8, limit: Limit) -> Row {
    let swtpm = Swtpm::tcp();
    let chain = format!("swtpm:{}", swtpm.conf());
    let mut with = ours(&format!("rm,share={share}:{chain}"));
    let mut without = ours(&chain);
    let pair = in_turn(
        1001,
        || each(1, || round(&mut with)),
        || each(1, || round(&mut without)),
    );
    time(pair, "the chain without rm", limit)
}

/// Both managers talk to their swtpm by our transport. Each has a swtpm of its own: the
/// objects that one keeps loaded would leave the other no room.
fn thrashing(share: u8, options: &str, limit: Limit) -> Option<Row> {
    let (a, b) = (Swtpm::tcp(), Swtpm::tcp());
    let chain = |swtpm: &Swtpm| format!("swtpm:{}{options}", swtpm.conf());
    let _abrmd = Abrmd::over(&chain(&b))?;
    let mut ours = Objects::new(ours(&format!("rm,share={share}:{}", chain(&a))));
    let mut theirs = Objects::new(peers::open("tabrmd", "bus_type=session"));
    let pair = in_turn(101, || ours.turn(), || theirs.turn());
    Some(time(pair, "tpm2-abrmd over the same", limit))
}

/// What wrap adds to a command of ESYS's, held against what a session of the program's
/// own adds that protects as much.
fn wrap(work: Work) -> Row {
    let added = |guard| {
        let programs = [guard, Guard::None].map(Program::new);
        programs.iter().for_each(|program| program.prepare(work));
        let (with, without) = in_turn(
            151,
            || each(50, || programs[0].run(work)),
            || each(50, || programs[1].run(work)),
        );
        with - without
    };
    let pair = (added(Guard::Wrap), added(Guard::Session));
    time(pair, "ESYS's own salted session", NOT_MORE)
}

/// A signature takes so long that what is added to it cannot be told from noise.
fn wrap_whole() -> Row {
    let programs = [Guard::Wrap, Guard::Session].map(Program::new);
    programs
        .iter()
        .for_each(|program| program.prepare(Work::Sign));
    let pair = in_turn(
        151,
        || each(5, || programs[0].run(Work::Sign)),
        || each(5, || programs[1].run(Work::Sign)),
    );
    time(pair, "ESYS's own salted session", NOT_MORE)
}

/// What a shell pays for a TPM that each process opens, and for one that runs.
fn whole_process() -> Row {
    let swtpm = Swtpm::tcp();
    let chain = format!("{}:libtpms", our_module());
    let theirs = format!("swtpm:{}", swtpm.conf());
    let run = |tcti: &str| {
        each(1, || {
            counts::run("tpm2_getrandom", &["-T", tcti, "--hex", "16"])
        })
    };
    let pair = in_turn(51, || run(&chain), || run(&theirs));
    time(
        pair,
        "Debian's swtpm module, its swtpm running",
        Limit::None,
    )
}

fn peak_memory() -> Row {
    let swtpm = Swtpm::tcp();
    let of = |tcti: &str| counts::peak_memory("tpm2_getrandom", &["-T", tcti, "--hex", "16"]);
    let chain = format!("{}:swtpm:{}", our_module(), swtpm.conf());
    let theirs = format!("swtpm:{}", swtpm.conf());
    let pair = in_turn(11, || of(&chain), || of(&theirs));
    Row {
        ours: pair.0,
        theirs: Some((pair.1, DEBIANS)),
        unit: Unit::KiB,
        limit: NOT_MORE,
    }
}
