// SPDX-License-Identifier: BSD-2-Clause
//! Translates i2c-dev's ioctls for a chip's I2C interface.

use tpm_tis::model::{I2cFace, I2cFault};

use super::cuse::{Answer, Device, MemoryArea};

const I2C_SLAVE: u32 = 0x0703;
const I2C_RDWR: u32 = 0x0707;
const I2C_M_RD: u16 = 1;
/// The address of another chip, which a kernel driver holds.
const TAKEN: u64 = 0x50;
/// The sizes of `struct i2c_rdwr_ioctl_data` and `struct i2c_msg` with pointers of 64 bits.
const MESSAGES: usize = 16;
const MESSAGE: usize = 16;

pub(super) struct I2cDev(I2cFace);

impl I2cDev {
    pub(super) fn new(face: I2cFace) -> Self {
        Self(face)
    }

    fn transfer(&mut self, argument: u64, data: &[u8]) -> Answer {
        let whole = MemoryArea {
            address: argument,
            length: MESSAGES,
        };
        let Some((fields, rest)) = data.split_at_checked(MESSAGES) else {
            return Answer::Again {
                read: vec![whole],
                write: vec![],
            };
        };
        let count = u32::from_ne_bytes(fields[8..12].try_into().expect("four"));
        if count != 1 {
            // This is a repeated start, which the chip refuses.
            return Answer::Done(-libc::EREMOTEIO, vec![]);
        }
        let message = MemoryArea {
            address: u64::from_ne_bytes(fields[..8].try_into().expect("eight")),
            length: MESSAGE,
        };
        let Some((fields, bytes)) = rest.split_at_checked(MESSAGE) else {
            return Answer::Again {
                read: vec![whole, message],
                write: vec![],
            };
        };
        let field = |at: usize| u16::from_ne_bytes(fields[at..at + 2].try_into().expect("two"));
        let (address, flags, length) = (field(0), field(2), usize::from(field(4)));
        let buffer = MemoryArea {
            address: u64::from_ne_bytes(fields[8..].try_into().expect("eight")),
            length,
        };
        if bytes.len() < length {
            let write = if flags & I2C_M_RD != 0 {
                vec![buffer]
            } else {
                vec![]
            };
            return Answer::Again {
                read: vec![whole, message, buffer],
                write,
            };
        }
        let address = address as u8;
        if flags & I2C_M_RD == 0 {
            return done(self.0.write_transfer(address, &bytes[..length]), vec![]);
        }
        let mut read = vec![0; length];
        let result = self.0.read_transfer(address, &mut read);
        done(result, read)
    }
}

fn done(result: Result<(), I2cFault>, read: Vec<u8>) -> Answer {
    match result {
        Ok(()) => Answer::Done(1, read),
        Err(I2cFault::Nack) => Answer::Done(-libc::ENXIO, vec![]),
        Err(I2cFault::Gone) => Answer::Done(-libc::ENODEV, vec![]),
    }
}

impl Device for I2cDev {
    fn ioctl(&mut self, number: u32, argument: u64, data: &[u8]) -> Answer {
        match (number, argument) {
            (I2C_SLAVE, TAKEN) => Answer::Done(-libc::EBUSY, vec![]),
            (I2C_SLAVE, _) => Answer::Done(0, vec![]),
            (I2C_RDWR, _) => self.transfer(argument, data),
            _ => Answer::Done(-libc::ENOTTY, vec![]),
        }
    }
}
