// SPDX-License-Identifier: BSD-2-Clause
//! The chip's FIFO: commands in, responses out.

use std::format;
use std::vec::Vec;

use super::chip::{Phase, State};

impl State {
    /// Flips a bit of these bytes on the wire, if that is due.
    fn flip(&mut self, bytes: &mut [u8]) {
        if self.faults.flips > 0 && bytes.len() > 1 {
            self.faults.flips -= 1;
            bytes[1] ^= 0x10;
        }
    }

    pub(super) fn write_fifo(&mut self, locality: u8, bytes: &[u8]) {
        if self.active() != Some(locality) {
            return self.violated("the FIFO was written without an active locality".into());
        }
        let now = self.now();
        let burst = (self.status(locality) >> 8 & 0xffff) as usize;
        if bytes.len() > burst {
            self.violated(format!("{} bytes at a burst count of {burst}", bytes.len()));
        }
        if matches!(self.phase, Phase::Ready(at) if now >= at) {
            self.phase = Phase::Reception(Vec::new());
        }
        let mut copy = bytes.to_vec();
        self.flip(&mut copy);
        match &mut self.phase {
            Phase::Reception(command) if command.len() + copy.len() <= 4096 => {
                command.extend(copy);
                self.last.clone_from(command);
            }
            _ => self.violated("the FIFO was written and took nothing".into()),
        }
        self.counts.fifo += bytes.len() as u64;
        self.touched = Some(now);
    }

    pub(super) fn read_fifo(&mut self, locality: u8, bytes: &mut [u8]) {
        bytes.fill(0xff);
        if self.active() != Some(locality) {
            return self.violated("the FIFO was read without an active locality".into());
        }
        let now = self.now();
        let burst = (self.status(locality) >> 8 & 0xffff) as usize;
        if bytes.len() > burst {
            self.violated(format!("{} bytes at a burst count of {burst}", bytes.len()));
        }
        let Phase::Completion { response, read } = &mut self.phase else {
            return self.violated("the FIFO was read without a response".into());
        };
        let count = bytes.len().min(response.len() - *read);
        bytes[..count].copy_from_slice(&response[*read..*read + count]);
        *read += count;
        self.flip(bytes);
        self.counts.fifo += bytes.len() as u64;
        self.touched = Some(now);
    }
}
