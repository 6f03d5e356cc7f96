// SPDX-License-Identifier: BSD-2-Clause
//! A thread that loads a TPM heavily through C's functions, and checks that each answer
//! belongs to its own command.

use rusttcti::wire::CommandCode;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::commands::{command, get_random, response_code};
use super::random::Random;
use super::sha256::sha256;
use super::tpm::{create_primary_ecc, create_primary_rsa};
use super::vtable::{Vtable, rc};

/// TPM_RC_CANCELED.
const CANCELED: u32 = 0x909;
/// TPM_RC_OBJECT_MEMORY: no memory for another key at the moment.
const OBJECT_MEMORY: u32 = 0x902;

/// The counts of a worker's commands and their results.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// How many commands were sent.
    pub commands: u64,
    /// How many keys were made.
    pub keys: u64,
    /// How many commands were cancelled.
    pub cancelled: u64,
    /// How often a timeout ran out before the answer came.
    pub early: u64,
    /// The longest time until an answer.
    pub slowest: Duration,
}

impl Counts {
    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.keys += other.keys;
        self.cancelled += other.cancelled;
        self.early += other.early;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// One of several workers that run at the same time.
#[derive(Debug)]
pub struct Worker {
    /// The worker's number, which is part of all that it sends.
    number: u64,
    sent: u64,
    /// The source of its random choices.
    pub random: Random,
    /// Its counts so far.
    pub counts: Counts,
    /// One in how many commands makes an ECC key.
    pub ecc: u64,
    /// One in how many commands makes an RSA key.
    pub rsa: u64,
    /// Whether the transport can cancel.
    pub cancels: bool,
}

impl Worker {
    /// Returns a worker with this number.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            sent: 0,
            random: Random(number),
            counts: Counts::default(),
            ecc: 500,
            rsa: 5000,
            cancels: false,
        }
    }

    /// Sends one random command, and checks the answer.
    pub fn work(&mut self, c: Vtable) {
        if self.random.below(self.rsa) == 0 {
            self.make_key(c, &create_primary_rsa(2048), self.cancels);
        } else if self.random.below(self.ecc) == 0 {
            self.make_key(c, &create_primary_ecc(), false);
        } else if self.random.below(8) == 0 {
            let bytes = 1 + self.random.below(32) as u16;
            let response = self.exchange(c, &get_random(bytes), false);
            assert_eq!(response_code(&response), 0);
            assert_eq!(response.len(), 12 + usize::from(bytes));
        } else {
            self.hash(c);
        }
    }

    /// Runs TPM2_Hash of data that no other worker sends.
    fn hash(&mut self, c: Vtable) {
        self.sent += 1;
        let length = self.random.below(900) as usize;
        let mut data = [self.number.to_be_bytes(), self.sent.to_be_bytes()].concat();
        data.resize(16 + length, self.number as u8);
        let size = (data.len() as u16).to_be_bytes();
        // SHA-256, in the hierarchy TPM_RH_NULL.
        let parameters = [&size[..], &data, &[0, 0x0b, 0x40, 0, 0, 7]].concat();
        let response = self.exchange(c, &command(CommandCode::HASH, &parameters), false);
        assert_eq!(response_code(&response), 0);
        assert_eq!(response[10..12], [0, 32]);
        assert_eq!(response[12..44], sha256(&data), "another one's answer");
    }

    fn make_key(&mut self, c: Vtable, create: &[u8], cancel: bool) {
        let response = self.exchange(c, create, cancel);
        match response_code(&response) {
            0 => {
                self.counts.keys += 1;
                let handle = &response[10..14];
                assert_eq!(handle[0], 0x80, "a transient object's handle");
                let flushed = self.exchange(c, &command(CommandCode::FLUSH_CONTEXT, handle), false);
                assert_eq!(response_code(&flushed), 0);
            }
            CANCELED if cancel => self.counts.cancelled += 1,
            code => assert_eq!(code, OBJECT_MEMORY),
        }
    }

    /// Runs a command, and waits for its answer in one of several ways.
    pub fn exchange(&mut self, c: Vtable, command: &[u8], cancel: bool) -> Vec<u8> {
        let begun = Instant::now();
        assert_eq!(c.transmit(command), rc::SUCCESS);
        if cancel {
            std::thread::sleep(Duration::from_micros(self.random.below(20_000)));
            assert_eq!(c.cancel(), rc::SUCCESS);
        }
        let timeout = [-1, 0, 1, 10][self.random.below(4) as usize];
        let response = loop {
            let (code, response) = c.receive(timeout);
            if code == rc::SUCCESS {
                break response;
            }
            assert_eq!(code, rc::TRY_AGAIN);
            assert!(begun.elapsed() < PATIENCE, "no answer to {command:02x?}");
            self.counts.early += 1;
            std::thread::yield_now();
        };
        self.counts.commands += 1;
        self.counts.slowest = self.counts.slowest.max(begun.elapsed());
        response
    }
}
