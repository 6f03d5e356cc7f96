// SPDX-License-Identifier: BSD-2-Clause
//! Translates spidev's ioctls for a chip's SPI interface, with chip select as Linux
//! drives it.

use tpm_tis::model::SpiFace;

use super::cuse::{Answer, Device, MemoryArea};

/// SPI_IOC_WR_MODE and SPI_IOC_MESSAGE(1), on processors with the usual layout.
const WRITE_MODE: u32 = 0x4001_6b01;
const MESSAGE: u32 = 0x4020_6b00;
/// The size of a segment, and the offsets of its fields.
const SEGMENT: usize = 32;

pub(super) struct Spidev {
    face: SpiFace,
    selected: bool,
}

impl Spidev {
    pub(super) fn new(face: SpiFace) -> Self {
        Self {
            face,
            selected: false,
        }
    }

    fn select(&mut self, selected: bool) {
        if self.selected != selected {
            self.face.select(selected);
            self.selected = selected;
        }
    }

    fn message(&mut self, argument: u64, data: &[u8]) -> Answer {
        let segment = MemoryArea {
            address: argument,
            length: SEGMENT,
        };
        let Some((fields, bytes)) = data.split_at_checked(SEGMENT) else {
            return Answer::Again {
                read: vec![segment],
                write: vec![],
            };
        };
        let field = |at: usize| u64::from_ne_bytes(fields[at..at + 8].try_into().expect("eight"));
        let length = u32::from_ne_bytes(fields[16..20].try_into().expect("four")) as usize;
        if length > 4096 {
            return Answer::Done(-libc::EMSGSIZE, vec![]);
        }
        if bytes.len() < length {
            let buffer = |address| MemoryArea { address, length };
            return Answer::Again {
                read: vec![segment, buffer(field(0))],
                write: vec![buffer(field(8))],
            };
        }
        self.select(true);
        let read: Vec<u8> = bytes.iter().map(|byte| self.face.exchange(*byte)).collect();
        // This field of the last segment: 1 keeps chip select asserted.
        if fields[27] == 0 {
            self.select(false);
        }
        Answer::Done(length as i32, read)
    }
}

impl Device for Spidev {
    fn ioctl(&mut self, number: u32, argument: u64, data: &[u8]) -> Answer {
        match number {
            MESSAGE => self.message(argument, data),
            WRITE_MODE => match data {
                [] => Answer::Again {
                    read: vec![MemoryArea {
                        address: argument,
                        length: 1,
                    }],
                    write: vec![],
                },
                // spi_setup releases chip select.
                [0, ..] => {
                    self.select(false);
                    Answer::Done(0, vec![])
                }
                _ => Answer::Done(-libc::EINVAL, vec![]),
            },
            _ => Answer::Done(-libc::ENOTTY, vec![]),
        }
    }
}
