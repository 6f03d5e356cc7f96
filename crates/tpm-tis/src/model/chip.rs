// SPDX-License-Identifier: BSD-2-Clause
//! The chip's registers, and the effects of their reads and writes.

use std::format;
use std::string::String;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::vec;
use std::vec::Vec;

use super::registers::{self, ACCESS, CSUM, CSUM_ENABLE, DID_VID, FIFO, RID, STS};
use super::{CancelTpm, Faults, Level, Tpm, Traits};

const TPM_RC_CANCELED: u32 = 0x909;

/// The numbers of accesses and bytes on the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The reads and writes of registers.
    pub accesses: u64,
    /// The accesses to STS among them.
    pub status: u64,
    /// The bytes on the bus, including headers, addresses and wait states.
    pub bytes: u64,
    /// The bytes of the FIFO among them.
    pub fifo: u64,
}

/// What the chip does.
#[derive(Debug)]
pub(super) enum Phase {
    Idle,
    /// Ready for a command from that time on. commandReady was not written since.
    Ready(Duration),
    Reception(Vec<u8>),
    Execution {
        until: Duration,
        response: Work,
    },
    Completion {
        response: Vec<u8>,
        read: usize,
    },
}

/// The response of a command.
#[derive(Debug)]
pub(super) enum Work {
    Done(Vec<u8>),
    /// A thread computes it.
    Under(Receiver<Vec<u8>>),
}

impl Work {
    /// Returns whether the response is there, if a thread computes it.
    fn is_done(&mut self) -> bool {
        if let Self::Under(receiver) = self {
            match receiver.try_recv() {
                Ok(response) => *self = Self::Done(response),
                Err(_) => return false,
            }
        }
        true
    }
}

pub(super) struct State {
    tpm: Arc<Mutex<Tpm>>,
    pub(super) cancel: Option<CancelTpm>,
    pub(super) traits: Traits,
    pub(super) faults: Faults,
    /// When real time began; `None` for virtual time.
    real: Option<Instant>,
    virtual_now: Duration,
    pub(super) phase: Phase,
    /// The last command, or response, for its checksum.
    pub(super) last: Vec<u8>,
    checksum: bool,
    active: Option<u8>,
    /// The locality that was asked for, and when it is granted.
    requested: Option<(u8, Duration)>,
    /// When the FIFO was last used.
    pub(super) touched: Option<Duration>,
    accesses: u64,
    pub(super) counts: Counts,
    pub(super) violations: Vec<String>,
}

impl State {
    pub(super) fn new(tpm: Tpm, traits: Traits, faults: Faults, real: Option<Instant>) -> Self {
        Self {
            tpm: Arc::new(Mutex::new(tpm)),
            cancel: None,
            traits,
            faults,
            real,
            virtual_now: Duration::from_secs(1),
            phase: Phase::Idle,
            last: Vec::new(),
            checksum: false,
            active: None,
            requested: None,
            touched: None,
            accesses: 0,
            counts: Counts::default(),
            violations: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        match self.real {
            Some(begun) => begun.elapsed() + Duration::from_secs(1),
            None => self.virtual_now,
        }
    }

    /// Lets virtual time pass; returns true if time is real.
    pub(super) fn pass(&mut self, time: Duration) -> bool {
        self.virtual_now += time;
        self.real.is_some()
    }

    /// Counts bytes on the bus, which take `each`.
    pub(super) fn count_bytes(&mut self, count: usize, each: Duration) {
        self.counts.bytes += count as u64;
        self.virtual_now += each * count as u32;
    }

    pub(super) fn violated(&mut self, what: String) {
        // More of them would give no new information.
        if self.violations.len() < 20 {
            self.violations.push(what);
        }
    }

    pub(super) fn reset(&mut self) {
        self.phase = Phase::Idle;
        self.active = None;
        self.requested = None;
        self.touched = None;
        self.checksum = false;
    }

    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Ready(_))
    }

    pub(super) fn active(&self) -> Option<u8> {
        self.active
    }

    /// True once the chip has vanished.
    pub(super) fn is_gone(&self) -> bool {
        let gone = |after| self.accesses >= after;
        self.faults.vanish_after.is_some_and(gone)
    }

    /// Counts an access, and starts the faults that are due at it.
    fn begin(&mut self, address: u16) {
        self.accesses += 1;
        self.counts.accesses += 1;
        self.counts.status += u64::from(address == STS);
        let due = |after| self.accesses >= after;
        if self.faults.reset_after.is_some_and(due) {
            self.faults.reset_after = None;
            self.reset();
        }
        let now = self.now();
        if let Some((locality, at)) = self.requested {
            if now >= at && self.active.is_none() {
                self.active = Some(locality);
                self.requested = None;
            }
        }
        self.complete(now);
    }

    /// Ends the command whose time is over.
    fn complete(&mut self, now: Duration) {
        let Phase::Execution { until, response } = &mut self.phase else {
            return;
        };
        if now < *until || self.faults.never_done || !response.is_done() {
            return;
        }
        if let Work::Done(response) = response {
            let response = std::mem::take(response);
            self.last.clone_from(&response);
            self.phase = Phase::Completion { response, read: 0 };
        }
    }

    pub(super) fn read(&mut self, locality: u8, address: u16, bytes: &mut [u8]) {
        if self.is_gone() {
            return bytes.fill(0xff);
        }
        self.begin(address);
        if let Some(level) = self.faults.dead {
            return bytes.fill(if level == Level::High { 0xff } else { 0 });
        }
        let value = match address {
            ACCESS => vec![self.access(locality)],
            STS => self.status(locality).to_le_bytes().to_vec(),
            DID_VID => vec![0xd1, 0x15, 0x1b, 0x00],
            RID => vec![0x10],
            registers::I2C_CAPABILITY => self.capability().to_le_bytes().to_vec(),
            registers::I2C_DEVICE => vec![0x2e],
            CSUM_ENABLE => vec![u8::from(self.checksum)],
            CSUM => self.checksum_bytes(),
            FIFO => return self.read_fifo(locality, bytes),
            _ => Vec::new(),
        };
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = value.get(at).copied().unwrap_or(0xff);
        }
    }

    pub(super) fn write(&mut self, locality: u8, address: u16, bytes: &[u8]) {
        if self.is_gone() {
            return;
        }
        self.begin(address);
        if self.faults.dead.is_some() {
            return;
        }
        match address {
            ACCESS => self.write_access(locality, bytes[0]),
            STS if self.active == Some(locality) => self.write_status(bytes),
            FIFO => self.write_fifo(locality, bytes),
            CSUM_ENABLE if self.active == Some(locality) => {
                self.checksum = self.traits.checksum && bytes[0] == 1;
            }
            STS | CSUM_ENABLE => self.violated(format!(
                "0x{address:x} of locality {locality} was written, which is not active"
            )),
            _ => self.violated(format!("0x{address:x} was written, which is read-only")),
        }
    }

    fn access(&self, locality: u8) -> u8 {
        // Valid, and establishment, which has no meaning here.
        let mut value = 0x81;
        if self.faults.access_always_valid {
            return value;
        }
        if self.active == Some(locality) {
            value |= 0x20;
        }
        match self.requested {
            Some((other, _)) if other == locality => value |= 0x02,
            Some(_) => value |= 0x10,
            None => {}
        }
        value
    }

    fn write_access(&mut self, locality: u8, value: u8) {
        match value {
            0x20 => {
                if self.active == Some(locality) {
                    self.active = None;
                    self.phase = Phase::Idle;
                }
                if self.requested.is_some_and(|(other, _)| other == locality) {
                    self.requested = None;
                }
            }
            0x02 if self.active != Some(locality) => {
                let now = self.now();
                let grant = self.traits.grant.map_or(Duration::MAX, |time| now + time);
                self.requested = Some((locality, grant));
            }
            0x02 => {}
            _ => self.violated(format!("0x{value:02x} was written to ACCESS")),
        }
    }

    /// Whether a time after the last use of the FIFO has passed.
    fn rested(&self, time: Duration) -> bool {
        self.touched
            .is_none_or(|touched| self.now() >= touched + time)
    }

    fn is_valid(&self) -> bool {
        !self.faults.never_valid && self.rested(self.traits.valid)
    }

    pub(super) fn status(&mut self, locality: u8) -> u32 {
        if self.active != Some(locality) {
            return u32::MAX;
        }
        let now = self.now();
        let mut bits = 0;
        let mut burst = self.traits.burst;
        match &self.phase {
            Phase::Idle | Phase::Execution { .. } => burst = 0,
            Phase::Ready(at) if now >= *at && !self.faults.never_ready => bits |= 0x40,
            Phase::Ready(_) => burst = 0,
            Phase::Reception(bytes) => {
                let left = missing(bytes);
                let early = self.faults.expect_early && left < 2;
                if self.faults.expect_stuck || left > 0 && !early {
                    bits |= 0x08;
                }
            }
            Phase::Completion { response, read } => {
                burst = burst.min(response.len() - read);
                bits |= if burst > 0 { 0x10 } else { 0 };
            }
        }
        if self.is_valid() {
            bits |= 0x80;
        } else {
            // What is not valid may be anything.
            bits ^= 0x18;
        }
        if self.faults.no_burst || !self.rested(self.traits.burst_zero) {
            burst = 0;
        }
        const FAMILY_2: u32 = 1 << 26;
        FAMILY_2 | (burst as u32) << 8 | bits
    }

    fn write_status(&mut self, bytes: &[u8]) {
        let mut word = [0; 4];
        word[..bytes.len().min(4)].copy_from_slice(&bytes[..bytes.len().min(4)]);
        match u32::from_le_bytes(word) {
            0x40 => self.command_ready(),
            0x20 => self.go(),
            0x02 => match &mut self.phase {
                Phase::Completion { read, .. } => *read = 0,
                _ => self.violated("responseRetry without a response".into()),
            },
            0x0100_0000 => {
                let now = self.now();
                if let Phase::Execution { until, response } = &mut self.phase {
                    *until = now;
                    if let Some(cancel) = &self.cancel {
                        return cancel();
                    }
                    let mut cancelled = vec![0x80, 1, 0, 0, 0, 10];
                    cancelled.extend(TPM_RC_CANCELED.to_be_bytes());
                    *response = Work::Done(cancelled);
                }
            }
            value => self.violated(format!("0x{value:x} was written to STS")),
        }
    }

    fn command_ready(&mut self) {
        let at = self.now() + self.traits.ready;
        self.touched = None;
        self.phase = match self.phase {
            Phase::Completion { .. } if self.traits.goes_idle => Phase::Idle,
            Phase::Ready(at) => Phase::Ready(at),
            _ => Phase::Ready(at),
        };
    }

    fn go(&mut self) {
        let Phase::Reception(command) = &mut self.phase else {
            return self.violated("tpmGo without a command".into());
        };
        if missing(command) > 0 {
            let have = command.len();
            return self.violated(format!("tpmGo with {have} bytes of a command"));
        }
        let command = std::mem::take(command);
        let (tpm, faults) = (self.tpm.clone(), self.faults);
        let execute = move || {
            let mut tpm = tpm.lock().unwrap_or_else(PoisonError::into_inner);
            broken((*tpm)(&command), faults)
        };
        let response = match self.real {
            None => Work::Done(execute()),
            // The chip answers to reads and writes meanwhile.
            Some(_) => {
                let (sender, receiver) = channel();
                std::thread::spawn(move || sender.send(execute()));
                Work::Under(receiver)
            }
        };
        let until = self.now() + self.traits.command;
        self.touched = None;
        self.phase = Phase::Execution { until, response };
    }

    fn capability(&self) -> u32 {
        // FIFO, five localities, static burst count, and the guard time for all
        // four pairs of transfers.
        let guard = u32::from(self.traits.guard);
        0x2 | 1 << 7
            | guard << 9
            | 0xf << 17
            | 3 << 21
            | 1 << 25
            | u32::from(self.traits.refuses_repeated_start) << 30
    }

    fn checksum_bytes(&mut self) -> Vec<u8> {
        let mut sum = registers::kermit(&self.last);
        if self.faults.wrong_checksums > 0 {
            self.faults.wrong_checksums -= 1;
            sum ^= 0x0101;
        }
        sum.to_be_bytes().to_vec()
    }
}

/// Returns the response as these faults change it.
fn broken(mut response: Vec<u8>, faults: Faults) -> Vec<u8> {
    if let Some(size) = faults.size {
        response[2..6].copy_from_slice(&size.to_be_bytes());
    }
    if let Some(cut) = faults.cut {
        response.truncate(cut);
    }
    response.resize(response.len() + faults.grow, 0xee);
    response
}

/// Returns how many bytes of a command are still missing.
fn missing(command: &[u8]) -> usize {
    let size = command.get(2..6).map_or(10, |size| {
        size.iter()
            .fold(0, |size, byte| size << 8 | usize::from(*byte))
    });
    size.saturating_sub(command.len())
}
