// SPDX-License-Identifier: BSD-2-Clause
//! The fuzz targets: a function for each, which takes any bytes and panics if rusttcti
//! breaks a promise. The programs in fuzz_targets call them with libFuzzer, and
//! tests/regressions.rs without it.
//!
//! Time is not an input: a peer acts before or after a call of the client, in the same
//! thread, so a run can be repeated.

#![deny(missing_docs)]

#[cfg(not(fuzzing))]
compile_error!("build in the folder fuzz (or by cargo fuzz): --cfg fuzzing is needed");

use std::sync::Once;

mod chain;
mod client;
mod cmd_peer;
mod control;
mod elf;
mod input;
mod libtpms;
mod pcap;
mod rm;
mod seeds;
mod socket_peer;
mod state;
mod tis;
mod views;
mod vtable;
mod wire;

pub use seeds::seeds;

/// A target: what it is called, and what it does with any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The program's name in fuzz_targets.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// The longest input that is of use, in bytes.
    pub max_len: usize,
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    target("vtable", vtable::run, 512),
    target("libtpms", libtpms::run, 1024),
    target("chain", chain::run, 512),
    target("swtpm_peer", socket_peer::run_swtpm, 1024),
    target("mssim_peer", socket_peer::run_mssim, 1024),
    target("cmd_peer", cmd_peer::run, 1024),
    target("state", state::run, 256),
    target("pcap", pcap::run, 512),
    target("elf", elf::run, 4096),
    target("command", views::run_command, 512),
    target("response", views::run_response, 512),
    target("wrap", rusttcti::fuzzing::wrap::run, 1024),
    target("rm", rm::run, 1024),
    target("tis", tis::run, 1024),
];

const fn target(name: &'static str, run: fn(&[u8]), max_len: usize) -> Target {
    Target { name, run, max_len }
}

/// No transport raises a SIGPIPE, which would end most programs.
extern "C" fn broken_pipe(_: libc::c_int) {
    std::process::abort();
}

/// Runs a target.
///
/// # Panics
/// If a promise is broken, or nothing has this name.
pub fn run(name: &str, input: &[u8]) {
    static SIGPIPE: Once = Once::new();
    SIGPIPE.call_once(|| {
        let handler: extern "C" fn(libc::c_int) = broken_pipe;
        // SAFETY: abort(3) is all that the handler calls.
        unsafe { libc::signal(libc::SIGPIPE, handler as libc::sighandler_t) };
    });
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target's name").run)(input);
}
