// SPDX-License-Identifier: BSD-2-Clause
//! A layer that counts and times commands by command code, and prints a table when it
//! is finalized.
//!
//! ```text
//! cargo run --example observe -- libtpms
//! ```

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use rusttcti::wire::{CommandBuilder, CommandCode, Header};
use rusttcti::{Result, Tcti, TctiExt};

/// Watches what goes through `inner`.
struct Observe<T> {
    inner: T,
    /// The command code under way, and when it was sent.
    pending: Option<(u32, Instant)>,
    /// By command code: how many, and how long they took in all.
    seen: BTreeMap<u32, (u32, Duration)>,
}

impl<T: Tcti> Observe<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            pending: None,
            seen: BTreeMap::new(),
        }
    }
}

impl<T: Tcti> Tcti for Observe<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let code = Header::parse(command).map_or(0, |header| header.code);
        let sent = Instant::now();
        self.inner.transmit(command)?;
        self.pending = Some((code, sent));
        Ok(())
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let length = self.inner.receive(response, timeout)?;
        if let Some((code, sent)) = self.pending.take() {
            let (count, time) = self.seen.entry(code).or_default();
            *count += 1;
            *time += sent.elapsed();
        }
        Ok(length)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.inner)
    }

    fn finalize(&mut self) -> Result<()> {
        println!("{:>8} {:>7} {:>12}", "command", "count", "mean");
        for (code, (count, time)) in &self.seen {
            println!("{code:#8x} {count:>7} {:>12.1?}", *time / *count);
        }
        self.inner.finalize()
    }
}

fn main() -> Result<()> {
    let chain = env::args().nth(1).unwrap_or_else(|| "libtpms".to_owned());
    let mut tcti = Observe::new(rusttcti::open(&chain)?);
    let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
    let read_clock = CommandBuilder::new(CommandCode::READ_CLOCK).build();
    for _ in 0..100 {
        for command in [&get_random, &read_clock] {
            tcti.execute(command, None)?;
        }
    }
    tcti.finalize()
}
