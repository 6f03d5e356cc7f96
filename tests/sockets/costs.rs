// SPDX-License-Identifier: BSD-2-Clause
//! The cost of a command over swtpm and mssim: system calls and allocations.

use rusttcti::{Context, Tcti, open};
use rusttcti_kit::commands::get_random;
use rusttcti_kit::mssim::Simulator;
use rusttcti_kit::swtpm::Swtpm;
use rusttcti_kit::tpm::STARTUP;
use rusttcti_kit::vtable::{Vtable, rc};
use rusttcti_kit::{again, strace};

const COMMANDS: usize = 20;

fn exchange(tcti: Vtable, command: &[u8], response: &mut [u8]) {
    assert_eq!(tcti.transmit(command), rc::SUCCESS);
    assert_eq!(tcti.receive_into(response, -1).0, rc::SUCCESS);
}

fn context(chain: &str) -> Context<Box<dyn Tcti>> {
    let context = Context::new(open(chain).expect("the peer is there"));
    // One-time work is done here.
    exchange(Vtable(context.as_ptr()), &STARTUP, &mut [0; 4096]);
    context
}

#[test]
#[ignore = "a part of the tests of system calls"]
fn commands_under_strace() {
    let context = context(&std::env::var("RUSTTCTI_TEST_CHAIN").expect("a chain"));
    let command = get_random(16);
    let mut response = [0; 4096];
    strace::mark();
    for _ in 0..COMMANDS {
        exchange(Vtable(context.as_ptr()), &command, &mut response);
    }
    strace::mark();
}

/// Asserts what each command's system calls are. On a machine that is too busy
/// a command may take one or two more now and then, to wait or to look whether
/// the peer is still there: one quiet run is enough.
fn assert_calls(chain: &str, expected: &[&str]) {
    for attempt in 1.. {
        let calls = strace::calls(
            &again::only!("commands_under_strace"),
            &[("RUSTTCTI_TEST_CHAIN", chain)],
        );
        let all: Vec<_> = calls.iter().map(String::as_str).collect();
        if all == expected.repeat(COMMANDS) {
            return;
        }
        assert!(attempt < 5, "{chain}: {calls:?}");
    }
}

#[test]
fn a_command_to_swtpm_over_tcp_takes_six_system_calls() {
    let swtpm = Swtpm::tcp();
    let calls = ["socket", "sendto", "sendto", "ppoll", "recvfrom", "close"];
    assert_calls(&format!("swtpm:{}", swtpm.conf()), &calls);
}

#[test]
fn a_command_to_swtpm_over_a_unix_socket_takes_six_system_calls() {
    let swtpm = Swtpm::unix();
    let calls = ["socket", "connect", "sendto", "ppoll", "recvfrom", "close"];
    assert_calls(&format!("swtpm:{}", swtpm.conf()), &calls);
}

#[test]
fn a_command_to_a_persistent_swtpm_takes_two_system_calls() {
    for swtpm in [Swtpm::tcp(), Swtpm::unix()] {
        let chain = format!("swtpm:{},persistent=1", swtpm.conf());
        assert_calls(&chain, &["sendto", "recvfrom"]);
    }
}

#[test]
fn a_command_to_the_simulator_is_one_write() {
    for simulator in [Simulator::tcp(), Simulator::unix()] {
        let chain = format!("mssim:{}", simulator.conf());
        let calls = strace::calls(
            &again::only!("commands_under_strace"),
            &[("RUSTTCTI_TEST_CHAIN", &chain)],
        );
        let count = |name: &str| calls.iter().filter(|call| *call == name).count();
        assert_eq!(count("sendmsg"), COMMANDS, "{calls:?}");
        // A check for unsolicited bytes. An answer comes in three parts at most, each
        // of which takes one read, and before them a call that requests a quick
        // acknowledgement.
        assert!(
            (2 * COMMANDS..=4 * COMMANDS).contains(&count("recvfrom")),
            "{calls:?}"
        );
        assert!(
            count("setsockopt") <= count("recvfrom") - COMMANDS,
            "{calls:?}"
        );
        assert_eq!(
            count("sendmsg") + count("recvfrom") + count("setsockopt"),
            calls.len(),
            "{calls:?}"
        );
    }
}

#[test]
fn no_command_allocates_after_the_first() {
    let (tcp, unix) = (Swtpm::tcp(), Swtpm::unix());
    let simulator = Simulator::tcp();
    let chains = [
        format!("swtpm:{}", tcp.conf()),
        format!("swtpm:{}", unix.conf()),
        format!("swtpm:{},persistent=1", tcp.conf()),
        format!("swtpm:{},persistent=1", unix.conf()),
        format!("mssim:{}", simulator.conf()),
    ];
    for chain in chains {
        let context = context(&chain);
        let command = get_random(16);
        let mut response = [0; 4096];
        let allocations = rusttcti_kit::alloc::on_this_thread(|| {
            for _ in 0..COMMANDS {
                exchange(Vtable(context.as_ptr()), &command, &mut response);
            }
            // Neither does one that is looked for, and waited for.
            for timeout in [0, 1000] {
                assert_eq!(Vtable(context.as_ptr()).transmit(&command), rc::SUCCESS);
                loop {
                    match Vtable(context.as_ptr())
                        .receive_into(&mut response, timeout)
                        .0
                    {
                        rc::SUCCESS => break,
                        code => assert_eq!(code, rc::TRY_AGAIN),
                    }
                }
            }
        });
        assert_eq!(allocations, 0, "{chain}");
    }
}
