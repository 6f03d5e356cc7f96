// SPDX-License-Identifier: BSD-2-Clause
//! A layer with an option and a name in chains: it counts commands.
//!
//! ```text
//! cargo run --example count -- count,every=10:libtpms
//! ```

use std::{env, time::Duration};

use rusttcti::wire::{CommandBuilder, CommandCode};
use rusttcti::{Chains, Options, Result, Tcti, TctiExt};

struct Count {
    below: Box<dyn Tcti>,
    every: u64,
    commands: u64,
}

impl Tcti for Count {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        self.commands += 1;
        if self.commands % self.every == 0 {
            println!("{} commands", self.commands);
        }
        self.below.transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        self.below.receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        Some(&mut self.below)
    }
}

fn main() -> Result<()> {
    let chains = Chains::new().layer("count", |options: &mut Options, below: Box<dyn Tcti>| {
        let every = options.take_number("every", (1, 1000), 1)?;
        let commands = 0;
        Ok(Count {
            below,
            every,
            commands,
        })
    });
    let chain = env::args()
        .nth(1)
        .unwrap_or_else(|| "count:libtpms".to_owned());
    let mut tpm = chains.open(&chain)?;
    let get_random = CommandBuilder::new(CommandCode::GET_RANDOM).u16(16).build();
    for _ in 0..30 {
        tpm.execute(&get_random, None)?;
    }
    tpm.finalize()
}
