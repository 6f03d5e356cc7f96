// SPDX-License-Identifier: BSD-2-Clause
//! Eight threads use one TPM, or several, at the same time. Every response is checked,
//! while a thousand signals a second arrive.
//!
//! `make load S=60` runs each test for RUSTTCTI_LOAD=60 seconds; the default is two
//! seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusttcti::{Context, Tcti};
use rusttcti_kit::commands::response_code;
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::sha256::sha256;
use rusttcti_kit::signals::Alarms;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::*;
use rusttcti_kit::vtable::Vtable;
use rusttcti_kit::worker::{Counts, Worker};

const THREADS: u64 = 8;

fn duration() -> Duration {
    let seconds =
        std::env::var("RUSTTCTI_LOAD").map_or(2, |seconds| seconds.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

fn open(chain: &str) -> Context<Box<dyn Tcti>> {
    let tcti = rusttcti::open(chain);
    Context::new(tcti.unwrap_or_else(|error| panic!("{chain}: {}", error.report())))
}

/// Lets eight threads work until the time is over: `work` is one thread's, and
/// goes on for as long as the flag says. Tells what they did.
fn load(name: &str, work: impl Fn(&mut Worker, &dyn Fn() -> bool) + Sync) {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let until = begun + duration();
    let go_on = || Instant::now() < until && !over.load(Ordering::Relaxed);
    let tallies: Vec<Counts> = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=THREADS)
            .map(|number| {
                let (work, over, go_on) = (&work, &over, &go_on);
                scope.spawn(move || {
                    // The others need not go on once one has failed.
                    let _over = OnPanic(over);
                    let mut worker = Worker::new(number);
                    let _alarms = Alarms::on_this_thread();
                    work(&mut worker, go_on);
                    worker.counts
                })
            })
            .collect();
        let tallies = workers.into_iter().map(|worker| worker.join());
        tallies
            .map(|counts| counts.expect("every answer was right"))
            .collect()
    });
    let mut all = Counts::default();
    for counts in &tallies {
        all.add(counts);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let each: Vec<u64> = tallies.iter().map(|counts| counts.commands).collect();
    let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
    println!(
        "{name}: {} commands in {seconds:.1} s, {:.0} a second; {} keys, {} cancelled, \
         {} timeouts; the slowest took {:.0} ms; by thread {least} to {most}",
        all.commands,
        all.commands as f64 / seconds,
        all.keys,
        all.cancelled,
        all.early,
        all.slowest.as_secs_f64() * 1e3,
    );
    assert!(*least > 0, "one had no turn: {each:?}");
    // In two seconds the scheduler of a busy machine may be as unfair.
    let is_long = duration() > Duration::from_secs(10);
    assert!(
        !is_long || least * 20 >= *most,
        "one had next to no turn: {each:?}"
    );
}

struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Each thread with a context of its own, open all the time.
fn load_contexts(name: &str, chain: &str, cancels: bool) {
    load(name, |worker, go_on| {
        worker.cancels = cancels;
        let context = open(chain);
        while go_on() {
            worker.work(Vtable(context.as_ptr()));
        }
    });
}

#[test]
fn eight_threads_share_an_swtpm_over_tcp() {
    let swtpm = Swtpm::tcp();
    load_contexts("swtpm tcp", &format!("swtpm:{}", swtpm.conf()), false);
}

#[test]
fn eight_threads_share_an_swtpm_over_a_unix_socket() {
    let swtpm = Swtpm::unix();
    load_contexts("swtpm unix", &format!("swtpm:{}", swtpm.conf()), false);
}

#[test]
fn eight_threads_share_an_swtpm_s_only_connection() {
    let swtpm = Swtpm::tcp();
    let chain = format!("swtpm:{},persistent=1", swtpm.conf());
    load_contexts("swtpm tcp persistent", &chain, false);
}

/// A simulator serves one client at a time, and the others wait: so each has
/// its turn, opens, sends some commands, and closes.
#[test]
fn eight_threads_take_turns_on_a_simulator() {
    let simulator = Simulator::started();
    let chain = format!("mssim:{}", simulator.conf());
    load("mssim tcp", |worker, go_on| {
        while go_on() {
            let context = open(&chain);
            for _ in 0..3 {
                worker.work(Vtable(context.as_ptr()));
            }
        }
    });
}

/// They share the TPM of a state file, and nothing stored is lost.
#[test]
fn eight_threads_share_the_tpm_of_a_state_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let chain = format!("libtpms:{}", folder.path().join("state").display());
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    ok(&mut *tpm, &nv_define_counter());
    ok(&mut *tpm, &nv_increment());
    let first = nv_read_counter(&mut *tpm);
    tpm.finalize().expect("suspended");

    let increments = std::sync::atomic::AtomicU64::new(0);
    load("libtpms:STATE", |worker, go_on| {
        worker.cancels = true;
        let mut context = open(&chain);
        while go_on() {
            if worker.random.below(1000) == 0 {
                // Another process could have its turn, were there one.
                drop(context);
                context = open(&chain);
            }
            let c = Vtable(context.as_ptr());
            if worker.random.below(40) == 0 {
                let response = worker.exchange(c, &nv_increment(), false);
                assert_eq!(response_code(&response), 0);
                increments.fetch_add(1, Ordering::Relaxed);
            }
            worker.work(c);
        }
    });
    let mut tpm = rusttcti::open(&chain).expect("a TPM");
    assert_eq!(
        nv_read_counter(&mut *tpm),
        first + increments.load(Ordering::Relaxed)
    );
    // No key was left in one of the three places for them.
    for _ in 0..3 {
        ok(&mut *tpm, &create_primary_ecc());
    }
}

/// Each thread has eight TPMs, and each TPM keeps only its own state.
#[test]
fn eight_threads_have_sixty_four_embedded_tpms() {
    load("64 embedded TPMs", |worker, go_on| {
        worker.cancels = true;
        let mut tpms: Vec<_> = (0..8).map(|_| (open("libtpms"), [0; 32])).collect();
        while go_on() {
            let which = worker.random.below(8);
            let (context, pcr) = &mut tpms[which as usize];
            let c = Vtable(context.as_ptr());
            if worker.random.below(20) == 0 {
                let byte = worker.random.below(256) as u8;
                let response = worker.exchange(c, &pcr_extend(DEBUG_PCR, byte), false);
                assert_eq!(response_code(&response), 0);
                *pcr = sha256(&[&pcr[..], &[byte; 32]].concat());
            }
            worker.work(c);
        }
        for (context, pcr) in tpms {
            let mut tpm = context.into_inner().expect("not forked");
            assert_eq!(pcr_read(&mut *tpm, DEBUG_PCR), pcr);
        }
    });
}
