// SPDX-License-Identifier: BSD-2-Clause
//! A layer of one's own: counts and times commands by command code, and prints
//! a table when it is finalized.
//!
//! ```text
//! cargo run --example observe -- libtpms
//! ```

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusttcti::header::Header;
use rusttcti::wire::{CommandBuilder, CommandCode};
use rusttcti::{Cancel, PollHandle, Result, Tcti};

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

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.inner.canceller()
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        self.inner.poll_handles()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        self.inner.set_locality(locality)
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        self.inner.make_sticky(handle, sticky)
    }

    fn reset(&mut self) -> Result<()> {
        self.inner.reset()
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
    let mut response = [0; 4096];
    let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
    let read_clock = CommandBuilder::new(CommandCode::READ_CLOCK).build();
    for _ in 0..100 {
        for command in [&get_random, &read_clock] {
            tcti.transmit(command)?;
            tcti.receive(&mut response, None)?;
        }
    }
    tcti.finalize()
}
