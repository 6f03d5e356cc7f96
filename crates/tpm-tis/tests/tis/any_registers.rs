// SPDX-License-Identifier: BSD-2-Clause
//! Any values of the registers: no panic, no hang, and no answer but the one
//! that came.

use std::time::Duration;

use proptest::prelude::*;
use tpm_tis::hal::delay::DelayNs;
use tpm_tis::registers::Register;
use tpm_tis::{Bus, Clock, Fault, Tis};

use crate::helpers::command;

/// A bus that gives any bytes, half of them plausible.
struct Any {
    bytes: Vec<u8>,
    at: usize,
    checksum: u16,
}

impl Any {
    fn next(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at % self.bytes.len()]
    }
}

/// What STS often is, so that all parts of the driver are reached.
const STATUS: [u32; 8] = [
    0x40c0,
    0x1088,
    0x0180,
    0x2090,
    0x00ff_ff90,
    0x80,
    0x4008,
    0x98,
];

impl Bus for Any {
    type Error = ();
    const CHECKSUM: bool = true;

    fn most(&self) -> usize {
        64
    }

    fn read(
        &mut self,
        clock: &mut dyn Clock,
        _: u8,
        register: Register,
        bytes: &mut [u8],
    ) -> Result<(), Fault<()>> {
        clock.delay_us(10);
        let kind = self.next();
        if kind > 250 {
            return Err([Fault::Busy, Fault::Bus(()), Fault::NoRegister][usize::from(kind) % 3]);
        }
        for byte in &mut *bytes {
            *byte = self.next();
        }
        if kind < 200 {
            match register {
                Register::Access => bytes[0] = 0xa1,
                Register::Status => {
                    let status = STATUS[usize::from(kind) % STATUS.len()];
                    bytes.copy_from_slice(&status.to_le_bytes());
                }
                Register::ChecksumEnable => bytes[0] = kind & 1,
                Register::Checksum if kind < 100 => {
                    bytes.copy_from_slice(&self.checksum.to_be_bytes());
                }
                // A header with a small size.
                Register::DataFifo if kind < 150 => {
                    if let Some(size) = bytes.get_mut(2..6) {
                        size.copy_from_slice(&[0, 0, 0, kind]);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        clock: &mut dyn Clock,
        _: u8,
        _: Register,
        _: &[u8],
    ) -> Result<(), Fault<()>> {
        clock.delay_us(10);
        match self.next() {
            251.. => Err(Fault::Busy),
            _ => Ok(()),
        }
    }
}

struct Virtual(Duration);

impl DelayNs for Virtual {
    fn delay_ns(&mut self, ns: u32) {
        self.0 += Duration::from_nanos(ns.into());
    }
}

impl Clock for Virtual {
    fn now(&mut self) -> Duration {
        self.0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_registers_end_in_time_and_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 1..200),
        length in 10..300usize,
        room in 0..400usize,
    ) {
        let checksum = tpm_tis::crc16(&command(length));
        let mut clock = Virtual(Duration::ZERO);
        let mut tpm = Tis::new(Any { bytes, at: 0, checksum }, &mut clock);
        let _ = tpm.open();
        let mut response = vec![0; room];
        for _ in 0..3 {
            if let Ok(size) = tpm.execute(&command(length), &mut response, None) {
                prop_assert!((10..=room).contains(&size));
            }
        }
        drop(tpm);
        // Each command may take five minutes, and each access be busy for a while.
        prop_assert!(clock.0 < Duration::from_secs(3 * 400), "{:?}", clock.0);
    }
}
