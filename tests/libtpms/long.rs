// SPDX-License-Identifier: BSD-2-Clause
//! Each command that takes a TPM long, while a thousand signals a second arrive:
//! transmit returns at once, and the program can wait for the response, poll for it,
//! and cancel the command.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rusttcti::transport::libtpms::Libtpms;
use rusttcti::wire::{CommandBuilder, CommandCode, capability};
use rusttcti::{ErrorKind, Tcti};
use rusttcti_kit::commands::{command, response_code};
use rusttcti_kit::long::{LONG, Long, flush, provisioned};
use rusttcti_kit::poll::polls;
use rusttcti_kit::signals::Alarms;
use rusttcti_kit::tpm::*;

const CANCELED: u32 = 0x909;
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
const MINUTE: Duration = Duration::from_secs(60);
/// The time limit of transmit, and of a receive without a timeout. The shortest of
/// a few times counts, because the machine may be busy.
const PROMPT: Duration = Duration::from_millis(5);

/// Returns the response; `None` if there is none yet.
fn look(tpm: &mut Libtpms) -> Option<Vec<u8>> {
    let mut response = vec![0; 4096];
    match tpm.receive(&mut response, AT_ONCE) {
        Ok(size) => {
            response.truncate(size);
            Some(response)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TryAgain, "{}", error.report());
            None
        }
    }
}

fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = call();
    (start.elapsed(), result)
}

/// Runs the command as an event loop does. How long transmit and the first look
/// took, and whether that look came too early.
fn run(tpm: &mut Libtpms, long: &Long) -> (Duration, Duration, bool) {
    let command = long.command(tpm, 2048);
    let (sending, sent) = timed(|| tpm.transmit(&command));
    sent.expect("sent");
    assert!(
        tpm.canceller().is_some(),
        "{}: transmit ran it itself",
        long.name()
    );
    let (looking, found) = timed(|| look(tpm));
    let early = found.is_none();
    let response = found.unwrap_or_else(|| {
        assert!(
            polls(tpm, MINUTE),
            "{}: the handle never fired",
            long.name()
        );
        look(tpm).expect("the handle said so")
    });
    let code = response_code(&response);
    assert_eq!(code, 0, "{}: response code 0x{code:x}", long.name());
    assert!(!polls(tpm, Duration::ZERO), "{}: it was taken", long.name());
    flush(tpm);
    (sending, looking, early)
}

#[test]
fn each_long_command_leaves_its_caller_free_and_its_response_is_polled_for() {
    let mut tpm = provisioned();
    let _alarms = Alarms::on_this_thread();
    for long in LONG {
        let (mut sending, mut looking, mut early) = (Duration::MAX, Duration::MAX, 0);
        let mut runs = 0;
        while runs < 3 || (runs < 20 && (sending > PROMPT || looking > PROMPT)) {
            let (sent, looked, too_early) = run(&mut tpm, long);
            sending = sending.min(sent);
            looking = looking.min(looked);
            early += usize::from(too_early);
            runs += 1;
        }
        assert!(
            sending < PROMPT,
            "{}: transmit took {sending:?}",
            long.name()
        );
        assert!(
            looking < PROMPT,
            "{}: receive took {looking:?}",
            long.name()
        );
        // Others may be done before one can look.
        assert!(
            early > 0 || !long.is_search(),
            "{}: its response was there at once, {runs} times",
            long.name()
        );
    }
    assert!(Alarms::count() > 100, "hardly a storm");
}

#[test]
fn these_are_all_the_commands_that_transmit_does_not_run_itself() {
    let mut tpm = provisioned();
    let first = CommandCode::NV_UNDEFINE_SPACE_SPECIAL.0;
    let list = CommandBuilder::get_capability(capability::COMMANDS, first, 256);
    let response = ok(&mut tpm, &list.build());
    let codes = response[19..].chunks_exact(4);
    let codes: Vec<CommandCode> = codes
        .map(|attributes| u32::from_be_bytes(attributes.try_into().expect("four")))
        .map(|attributes| CommandCode(attributes & 0xffff))
        .collect();
    assert!(codes.len() > 90, "{codes:?}");
    let mut found = BTreeSet::new();
    for code in codes {
        tpm.transmit(&command(code, &[])).expect("sent");
        if tpm.canceller().is_some() {
            found.insert(code);
        }
        tpm.receive(&mut [0; 4096], Some(MINUTE))
            .expect("a refusal, as there is nothing behind the header");
    }
    // A session takes long only where it has a salt.
    let known = LONG
        .iter()
        .map(|long| long.code)
        .filter(|code| *code != CommandCode::START_AUTH_SESSION);
    assert_eq!(found, known.collect());
}

#[test]
fn another_thread_cancels_a_search_from_a_seed_and_harms_no_other() {
    let mut tpm = provisioned();
    let _alarms = Alarms::on_this_thread();
    for long in LONG.iter().filter(|long| long.is_search()) {
        let mut canceled = 0;
        for _ in 0..6 {
            let command = long.command(&mut tpm, 3072);
            tpm.transmit(&command).expect("sent");
            let canceller = tpm.canceller().expect("it can be cancelled");
            let other = thread::spawn(move || canceller.cancel().expect("cancelled"));
            let mut response = [0; 4096];
            let size = tpm
                .receive(&mut response, Some(MINUTE))
                .expect("a response");
            match response_code(&response[..size]) {
                CANCELED => canceled += 1,
                0 => flush(&mut tpm), // found before it heard
                other => panic!("{}: response code 0x{other:x}", long.name()),
            }
            other.join().expect("no panic");
        }
        // The keys of the others are not made from a seed, so that libtpms leaves
        // the search to OpenSSL, which it cannot interrupt.
        if long.name() == "CreatePrimary" {
            assert!(canceled >= 5, "{}: {canceled} of 6", long.name());
        }
    }
}
