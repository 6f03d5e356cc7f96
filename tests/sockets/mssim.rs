// SPDX-License-Identifier: BSD-2-Clause
//! The transport mssim over a server that speaks the simulator's protocol.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rusttcti::transport::mssim::Mssim as Transport;
use rusttcti::wire::{CommandBuilder, CommandCode, Handle};
use rusttcti::{Context, ErrorKind, Module, Tcti};
use rusttcti_kit::PATIENCE;
use rusttcti_kit::commands::{command, get_random, response_code};
use rusttcti_kit::hostile;
use rusttcti_kit::mssim::{Event, Simulator};
use rusttcti_kit::vtable::{Vtable, rc};

fn open(conf: &str) -> Context<Transport> {
    Context::new(Transport::init(Some(conf)).expect("the simulator is there"))
}

fn execute(tcti: Vtable, command: &[u8]) -> Vec<u8> {
    assert_eq!(tcti.transmit(command), rc::SUCCESS);
    let (code, response) = tcti.receive(-1);
    assert_eq!(code, rc::SUCCESS);
    response
}

fn start_up(tcti: Vtable) {
    assert_eq!(
        response_code(&execute(tcti, &rusttcti_kit::tpm::STARTUP)),
        0
    );
}

/// As many events, as soon as they have happened.
fn next_events(simulator: &Simulator, count: usize) -> Vec<Event> {
    let until = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(simulator.events());
        assert!(Instant::now() < until, "{events:?}");
        std::thread::yield_now();
    }
    events
}

#[test]
fn a_session_has_power_brings_responses_and_says_good_bye() {
    for simulator in [Simulator::tcp(), Simulator::unix()] {
        let context = open(&simulator.conf());
        assert_eq!(simulator.events(), [Event::PowerOn, Event::NvOn]);
        let tcti = Vtable(context.as_ptr());
        start_up(tcti);
        let first = execute(tcti, &get_random(16));
        assert_eq!((response_code(&first), first.len()), (0, 28));
        for _ in 0..50 {
            assert_ne!(execute(tcti, &get_random(16)), first);
        }
        assert_eq!(simulator.events(), [Event::Command(0); 52]);
        drop(context);
        let ends = next_events(&simulator, 2);
        assert!(ends.contains(&Event::CommandSessionEnd), "{ends:?}");
        assert!(ends.contains(&Event::PlatformSessionEnd), "{ends:?}");
    }
}

#[test]
fn a_missing_simulator_is_reported_at_init() {
    let port = rusttcti_kit::ports::free();
    let error = Transport::init(Some(&format!("port={port}"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoConnection);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to mssim at localhost:{port}: connection refused \
             (is mssim running there?)"
        )
    );
}

#[test]
fn all_configurations_of_tpm2_tss_s_mssim_are_understood() {
    let (tcp, unix) = (Simulator::tcp(), Simulator::unix());
    let (here, path) = (tcp.conf(), unix.conf());
    let (_, port) = here.split_once(",").unwrap();
    for conf in [
        &here,
        &format!("{port},host=localhost"),
        &format!(",,host=localhost,,{port},"),
        &format!("port=1,{here}"),
        &format!("{path},{here}"),
        &format!("host=nowhere.invalid,{path}"),
        &format!("path=/nowhere,{path}"),
    ] {
        start_up_again(Vtable(open(conf).as_ptr()));
    }
}

/// TPM2_Startup of a TPM that may be started already.
fn start_up_again(tcti: Vtable) {
    let code = response_code(&execute(tcti, &rusttcti_kit::tpm::STARTUP));
    assert!([0, NOT_STARTED].contains(&code), "{code:x}");
}

#[test]
fn a_mistake_in_the_configuration_names_the_key_the_value_and_what_is_allowed() {
    for (conf, text) in [
        (
            "persistent=1",
            "mssim has no option \"persistent\" (its options: host, port, path, wait)",
        ),
        (
            "port=0",
            "mssim: port=\"0\" is not allowed (port is a number from 1 to 65534)",
        ),
        (
            "port=65535",
            "mssim: port=\"65535\" is not allowed (port is a number from 1 to 65534)",
        ),
        (
            "path=",
            "mssim: path=\"\" is not allowed (path is a unix socket's path)",
        ),
        (
            "wait=-1",
            "mssim: wait=\"-1\" is not allowed (wait is a number of seconds from 0 to 3600)",
        ),
        ("localhost", "is not of the form key=value"),
    ] {
        let error = Transport::init(Some(conf)).map(drop).expect_err(conf);
        assert_eq!(error.kind(), ErrorKind::BadValue, "{conf}");
        assert!(error.to_string().contains(text), "{conf}: {error}");
    }
}

#[test]
fn swtpm_in_the_simulator_s_place_is_told() {
    let swtpm = rusttcti_kit::swtpm::Swtpm::tcp();
    let error = Transport::init(Some(&swtpm.conf())).expect_err("another protocol");
    assert!(error.to_string().contains("is it swtpm?"), "{error}");
}

#[test]
fn no_answer_waits_for_a_delayed_acknowledgement() {
    let simulator = Simulator::tcp();
    let context = open(&simulator.conf());
    let tcti = Vtable(context.as_ptr());
    start_up(tcti);
    for timeout in [-1, 10_000, 0] {
        let mut times = [PATIENCE; 31];
        for time in &mut times {
            let began = Instant::now();
            assert_eq!(tcti.transmit(&get_random(16)), rc::SUCCESS);
            while tcti.receive(timeout).0 == rc::TRY_AGAIN {
                assert!(began.elapsed() < PATIENCE);
            }
            *time = began.elapsed();
        }
        times.sort();
        // The kernel would delay by 40 ms, once or twice for each answer.
        let median = times[times.len() / 2];
        assert!(median < Duration::from_millis(20), "{timeout}: {times:?}");
    }
}

#[test]
fn the_locality_is_in_each_command() {
    let simulator = Simulator::tcp();
    let context = open(&simulator.conf());
    let tcti = Vtable(context.as_ptr());
    start_up(tcti);
    for locality in [1, 2, 3, 4, 32, 255, 0] {
        simulator.events();
        assert_eq!(tcti.set_locality(locality), rc::SUCCESS);
        execute(tcti, &get_random(1));
        execute(tcti, &get_random(1));
        assert_eq!(simulator.events(), [Event::Command(locality); 2]);
    }
    for locality in [5, 31] {
        assert_eq!(tcti.set_locality(locality), rc::BAD_VALUE);
    }
}

/// TPM2_CreatePrimary of an RSA key: the search takes a while.
fn create_primary_rsa() -> Vec<u8> {
    // No secret, and a template with a unique field of this moment's.
    let mut unique = [0; 256];
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    unique[..16].copy_from_slice(&now.as_nanos().to_be_bytes());
    let mut template = vec![0, 0x01, 0, 0x0b, 0, 0x03, 0x00, 0x72, 0, 0];
    template.extend_from_slice(&[0, 0x06, 0, 128, 0, 0x43, 0, 0x10, 0x08, 0, 0, 0, 0, 0, 1, 0]);
    template.extend_from_slice(&unique);
    CommandBuilder::new(CommandCode::CREATE_PRIMARY)
        // The null hierarchy would do as well.
        .handle(Handle::ENDORSEMENT)
        .empty_password()
        .sized(&[0; 4])
        .and_then(|builder| builder.sized(&template))
        .expect("short buffers")
        // No data from outside, and no PCRs.
        .u16(0)
        .u32(0)
        .build()
}

#[test]
fn a_cancel_ends_a_command_that_another_thread_waits_for_and_nothing_else() {
    for simulator in [Simulator::tcp(), Simulator::unix()] {
        let context = open(&simulator.conf());
        let tcti = Vtable(context.as_ptr());
        start_up(tcti);
        let mut cancelled = 0;
        for _ in 0..5 {
            simulator.events();
            assert_eq!(tcti.transmit(&create_primary_rsa()), rc::SUCCESS);
            let response = std::thread::scope(|scope| {
                let waits = scope.spawn(|| tcti.receive(-1));
                next_events(&simulator, 1);
                // In the middle of it, or too late: either is right.
                let code = tcti.cancel();
                assert!([rc::SUCCESS, rc::BAD_SEQUENCE].contains(&code), "{code:x}");
                waits.join().unwrap()
            });
            assert_eq!(response.0, rc::SUCCESS);
            match response_code(&response.1) {
                CANCELED => cancelled += 1,
                0 => flush(tcti, &response.1),
                code => panic!("{code:x}"),
            }
            // It is taken back: the next command is not cancelled.
            assert_eq!(response_code(&execute(tcti, &get_random(1))), 0);
        }
        assert!(cancelled > 0, "no cancel came in time");
        let code = tcti.cancel();
        assert_eq!(code, rc::BAD_SEQUENCE, "there is nothing to cancel");
    }
}

const CANCELED: u32 = 0x909;
/// TPM_RC_INITIALIZE.
const NOT_STARTED: u32 = 0x100;

fn flush(tcti: Vtable, response: &[u8]) {
    assert_eq!(
        response_code(&execute(
            tcti,
            &command(CommandCode::FLUSH_CONTEXT, &response[10..14])
        )),
        0
    );
}

#[test]
fn a_cancel_is_taken_back_at_the_latest_when_the_session_ends() {
    let simulator = Simulator::tcp();
    let context = open(&simulator.conf());
    let tcti = Vtable(context.as_ptr());
    start_up(tcti);
    assert_eq!(tcti.transmit(&get_random(1)), rc::SUCCESS);
    next_events(&simulator, 4);
    assert_eq!(tcti.cancel(), rc::SUCCESS);
    assert_eq!(simulator.events(), [Event::CancelOn]);
    drop(context);
    let events = next_events(&simulator, 3);
    assert_eq!(events[0], Event::CancelOff, "{events:?}");
}

#[test]
fn a_context_that_is_closed_with_a_command_under_way_lets_the_simulator_answer() {
    let simulator = Simulator::started();
    simulator.events();
    for command in [&get_random(16)[..], &create_primary_rsa()] {
        let context = open(&simulator.conf());
        assert_eq!(Vtable(context.as_ptr()).transmit(command), rc::SUCCESS);
        // The server ends a connection without this event if it cannot write to it.
        drop(context);
        let mut events = Vec::new();
        while !events.contains(&Event::PlatformSessionEnd) {
            events.extend(next_events(&simulator, 1));
        }
        let is_end = |event: &Event| *event == Event::CommandSessionEnd;
        if !events.iter().any(is_end) {
            assert_eq!(next_events(&simulator, 1), [Event::CommandSessionEnd]);
        }
        let cancels = |wanted: Event| events.iter().filter(|event| **event == wanted).count();
        assert_eq!(cancels(Event::CancelOn), cancels(Event::CancelOff));
    }
}

#[test]
fn a_simulator_that_never_answers_does_not_keep_a_context_from_closing() {
    for route in hostile::routes()
        .into_iter()
        .filter(|route| route.transport == "mssim")
    {
        let (closed, is_closed) = channel();
        let peer = route.peer(vec![hostile::Reaction::Silence(closed)]);
        let context = route.open(&peer);
        assert_eq!(
            Vtable(context.as_ptr()).transmit(&get_random(8)),
            rc::SUCCESS
        );
        let began = Instant::now();
        drop(context);
        let took = began.elapsed();
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
        is_closed.recv_timeout(PATIENCE).expect("closed");
    }
}

#[test]
fn a_restarted_simulator_is_found_again_and_given_power() {
    let mut simulator = Simulator::tcp();
    let context = open(&simulator.conf());
    let tcti = Vtable(context.as_ptr());
    for _ in 0..2 {
        start_up(tcti);
        execute(tcti, &get_random(1));
        simulator.restart();
        simulator.events();
        // Busy: this command may have been executed, so that it is not repeated.
        let code = match tcti.transmit(&get_random(1)) {
            rc::SUCCESS => tcti.receive(-1).0,
            code => code,
        };
        assert!([rc::SUCCESS, rc::NO_CONNECTION].contains(&code), "{code:x}");
        assert_eq!(response_code(&execute(tcti, &get_random(1))), NOT_STARTED);
        let events = simulator.events();
        assert_eq!(events[..2], [Event::PowerOn, Event::NvOn], "{events:?}");
    }
}

#[test]
fn a_simulator_that_lost_its_power_is_told_and_given_it_again() {
    for simulator in [Simulator::tcp(), Simulator::unix()] {
        let mut tcti = Transport::init(Some(&simulator.conf())).expect("it is there");
        let mut response = [0; 4096];
        tcti.transmit(&rusttcti_kit::tpm::STARTUP).expect("sent");
        tcti.receive(&mut response, None).expect("received");
        simulator.lose_power();
        tcti.transmit(&get_random(1)).expect("sent");
        let error = tcti.receive(&mut response, None).expect_err("no power");
        assert_eq!(error.kind(), ErrorKind::MalformedResponse);
        assert!(error.to_string().contains("has no power"), "{error}");
        let code = rusttcti_kit::tpm::call(&mut tcti, &rusttcti_kit::tpm::STARTUP).expect("power");
        assert_eq!(response_code(&code), 0);
    }
}

#[test]
fn a_reset_is_a_power_cycle() {
    for simulator in [Simulator::tcp(), Simulator::unix()] {
        let mut tcti = Transport::init(Some(&simulator.conf())).expect("it is there");
        let call = |tcti: &mut Transport, command: &[u8]| {
            tcti.transmit(command).expect("sent");
            let mut response = [0; 4096];
            let size = tcti.receive(&mut response, None).expect("received");
            response_code(&response[..size])
        };
        assert_eq!(call(&mut tcti, &rusttcti_kit::tpm::STARTUP), 0);
        simulator.events();
        tcti.reset().expect("it has power over it");
        assert_eq!(
            simulator.events(),
            [Event::PowerOff, Event::PowerOn, Event::NvOn]
        );
        assert_eq!(call(&mut tcti, &get_random(1)), NOT_STARTED);
        assert_eq!(call(&mut tcti, &rusttcti_kit::tpm::STARTUP), 0);
    }
}

#[test]
fn tpm2_tools_work_over_the_module() {
    let simulator = Simulator::tcp();
    let tool = |name: &str, words: &[&str]| {
        let output = rusttcti_kit::module::program(name)
            .args(words)
            .args(["-T", &format!("rusttcti:mssim:{}", simulator.conf())])
            .output()
            .expect("tpm2-tools run (Debian's package tpm2-tools)");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        output.stdout
    };
    tool("tpm2_startup", &["-c"]);
    let first = tool("tpm2_getrandom", &["--hex", "16"]);
    assert_eq!(first.len(), 32);
    assert_ne!(tool("tpm2_getrandom", &["--hex", "16"]), first);
}

/// For scripts/check-tss.sh: a simulator, not a test.
#[test]
#[ignore = "serves other programs"]
fn serves_other_programs_until_its_input_ends() {
    let simulator = Simulator::tcp();
    println!("\nconf {}", simulator.conf());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("read");
}
