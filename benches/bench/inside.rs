// SPDX-License-Identifier: BSD-2-Clause
//! Parts of the bench that run in a separate process, whose system calls, instructions
//! or memory the bench counts.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use rusttcti::{Context, Result, Tcti};

use crate::peers::{self, Raw};

/// `commands MODULE CONF N`, `bridge N`, `spawn PROGRAM ARGS`, `memory N`, `answer`.
pub fn run(args: &[String]) {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["commands", module, conf, times] => {
            let mut tcti = peers::open(module, conf);
            peers::start(&mut tcti);
            (0..number(times)).for_each(|_| peers::round(&mut tcti));
        }
        ["bridge", times] => {
            let context = Context::new(Instant);
            let raw = Raw::new(context.as_ptr());
            let mut response = [0; 4096];
            (0..number(times)).for_each(|_| raw.round(&mut response));
        }
        ["spawn", program, ref rest @ ..] => spawn(program, rest),
        ["memory", count] => memory(number(count)),
        ["answer"] => answer(),
        _ => panic!("--inside {args:?}?"),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

/// A transport that has the answer at once: what is left is the bridge.
pub struct Instant;

/// No byte of it is a line's end, at which Rust's standard output would write.
const RESPONSE: [u8; 28] = *b"\x80\x01\0\0\0\x1c\0\0\0\0\0\x10sixteen octets..";

impl Tcti for Instant {
    fn transmit(&mut self, _command: &[u8]) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], _timeout: Option<Duration>) -> Result<usize> {
        response[..RESPONSE.len()].copy_from_slice(&RESPONSE);
        Ok(RESPONSE.len())
    }
}

/// Runs a program and prints its largest resident set in KiB. This process is
/// small: a program starts as a copy of the one that starts it.
fn spawn(program: &str, args: &[&str]) {
    let status = Command::new(program)
        .args(args)
        .stdout(std::process::Stdio::null())
        .status()
        .expect(program);
    assert!(status.success(), "{program} {args:?}: {status}");
    // SAFETY: zeroes are a valid rusage, and the pointer is to one.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage), 0);
        usage
    };
    println!("{}", usage.ru_maxrss);
}

/// Prints what each of `count` TPMs more adds to this process, in KiB of its own
/// (proportional set size: what is shared counts once).
fn memory(count: u32) {
    let open = || {
        let mut tpm = rusttcti::open("libtpms").expect("a TPM");
        peers::round(&mut tpm);
        tpm
    };
    let _first = open();
    let before = pss();
    let tpms: Vec<_> = (0..count).map(|_| open()).collect();
    let after = pss();
    println!("{}", (after - before) / f64::from(count));
    drop(tpms);
}

fn pss() -> f64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("/proc is mounted");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .expect("a Pss");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// A TPM at the other end of pipes: reads commands, writes a fixed response.
fn answer() {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut header = [0; 10];
    while input.read_exact(&mut header).is_ok() {
        let size = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        let rest = u64::from(size).saturating_sub(10);
        std::io::copy(&mut input.by_ref().take(rest), &mut std::io::sink()).expect("a command");
        output
            .write_all(&RESPONSE)
            .and_then(|()| output.flush())
            .expect("a reader");
    }
}
