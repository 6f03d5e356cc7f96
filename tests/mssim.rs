// SPDX-License-Identifier: BSD-2-Clause
//! The transport mssim over a server that speaks the simulator's protocol.

mod common;

use common::commands::{command, get_random, response_code};
use common::mssim::{Event, Simulator};
use common::vtable::{Vtable, rc};
use rusttcti::transport::mssim::Mssim as Transport;
use rusttcti::{Context, ErrorKind, Module};

const STARTUP_CLEAR: u32 = 0x144;

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
        response_code(&execute(tcti, &command(STARTUP_CLEAR, &[0, 0]))),
        0
    );
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
        let mut ends = Vec::new();
        while ends.len() < 2 {
            ends.extend(simulator.events());
            std::thread::yield_now();
        }
        assert!(ends.contains(&Event::CommandSessionEnd), "{ends:?}");
        assert!(ends.contains(&Event::PlatformSessionEnd), "{ends:?}");
    }
}

#[test]
fn a_missing_simulator_is_reported_at_init() {
    let port = common::swtpm::free_ports();
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
