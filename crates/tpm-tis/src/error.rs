// SPDX-License-Identifier: BSD-2-Clause
//! The errors of the driver: they name the register, its bits, and the time.

use core::fmt;
use core::time::Duration;

use crate::bus::Fault;
use crate::registers::Register;

/// The reason why the chip could not be used. `E` is the error of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The bus failed.
    Bus {
        /// The register that was accessed.
        register: Register,
        /// The error of the bus.
        error: E,
    },
    /// An SPI wait state did not end.
    WaitState {
        /// The register that was accessed.
        register: Register,
        /// How long the chip was clocked.
        waited: Duration,
    },
    /// The chip answered each access with a NACK.
    Busy {
        /// The register that was accessed.
        register: Register,
        /// How long it was tried.
        waited: Duration,
    },
    /// The bus does not have a register that was needed.
    NoRegister(Register),
    /// A register has bits set that read as zero on every TPM.
    Garbage {
        /// The register.
        register: Register,
        /// Its value.
        value: u32,
        /// The bits that should be zero.
        zero: u32,
    },
    /// No chip identifies itself: TPM_DID_VID is all zeros or all ones.
    NoChip {
        /// The value of TPM_DID_VID.
        value: u32,
    },
    /// A register did not get the expected value in time.
    Timeout {
        /// The register.
        register: Register,
        /// Its last value.
        value: u32,
        /// The bits that were looked at.
        mask: u32,
        /// What these bits should be.
        wanted: u32,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The burst count stayed 0.
    NoBurst {
        /// The last value of TPM_STS.
        value: u32,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The chip is ready for another command, although it should be executing one.
    CommandLost {
        /// The value of TPM_STS.
        value: u32,
    },
    /// The command is shorter than a header, or its header has another size.
    CommandSize {
        /// The number of its bytes.
        length: usize,
    },
    /// The header of the response has a size that is below 10 or above the buffer.
    ResponseSize {
        /// The size.
        size: u32,
        /// How many bytes the caller's buffer has.
        room: usize,
    },
    /// The response ended before the size in its header.
    ResponseShort {
        /// The size in the header; 10 while the header is read.
        size: usize,
        /// How many bytes came.
        received: usize,
    },
    /// The chip has more bytes than the size in the response's header.
    ResponseLong {
        /// The size in the header.
        size: usize,
        /// The value of TPM_STS.
        value: u32,
    },
    /// The checksum was wrong each time.
    Checksum {
        /// The chip's checksum.
        chip: u16,
        /// The checksum of the bytes on this side.
        host: u16,
        /// How many times it was tried.
        tries: u8,
    },
    /// There is no such locality: they are 0 to 4.
    Locality(u8),
    /// No command was started.
    NotStarted,
    /// The caller's time ran out; the command was aborted.
    OutOfTime {
        /// How long it was waited for.
        waited: Duration,
    },
}

impl<E> Error<E> {
    pub(crate) fn at(register: Register, fault: Fault<E>, waited: Duration) -> Self {
        match fault {
            Fault::Busy => Self::Busy { register, waited },
            Fault::WaitState(waited) => Self::WaitState { register, waited },
            Fault::NoRegister => Self::NoRegister(register),
            Fault::Bus(error) => Self::Bus { register, error },
        }
    }
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus { register, error } => {
                write!(f, "the bus failed at {}: {error:?}", register.name())
            }
            Self::WaitState { register, waited } => write!(
                f,
                "the chip held a wait state at {} for {waited:?}",
                register.name()
            ),
            Self::Busy { register, waited } => write!(
                f,
                "the chip acknowledged no access to {} for {waited:?} (is one at this address?)",
                register.name()
            ),
            Self::NoRegister(register) => {
                write!(f, "this bus has no register {}", register.name())
            }
            Self::Garbage {
                register,
                value,
                zero,
            } => write!(
                f,
                "{} reads 0x{value:02x}, whose bits 0x{:02x} are zero on every TPM \
                 (a dead bus, no active locality, or a controller that lets go of chip select?)",
                register.name(),
                value & zero
            ),
            Self::NoChip { value } => write!(
                f,
                "no TPM answers: TPM_DID_VID reads 0x{value:08x} (is the chip powered, and \
                 is this its bus?)"
            ),
            Self::Timeout {
                register,
                value,
                mask,
                wanted,
                waited,
            } => write!(
                f,
                "{} reads 0x{value:02x} after {waited:?}; its bits 0x{mask:02x} should be \
                 0x{wanted:02x}",
                register.name()
            ),
            Self::NoBurst { value, waited } => write!(
                f,
                "TPM_STS reads 0x{value:08x} after {waited:?}; its burst count should not be 0"
            ),
            Self::CommandLost { value } => write!(
                f,
                "the chip lost the command: TPM_STS reads 0x{value:02x}, as before a command \
                 (was it reset, or used by another program?)"
            ),
            Self::CommandSize { length } => write!(
                f,
                "a command of {length} bytes, which is not the size in its header"
            ),
            Self::ResponseSize { size, room } => write!(
                f,
                "the response's header says {size} bytes (a response has 10 to {room})"
            ),
            Self::ResponseShort { size, received } => write!(
                f,
                "the response ended after {received} of {size} bytes (dataAvail of TPM_STS is 0)"
            ),
            Self::ResponseLong { size, value } => write!(
                f,
                "the chip has more than the {size} bytes of the response's header \
                 (TPM_STS reads 0x{value:02x})"
            ),
            Self::Checksum { chip, host, tries } => write!(
                f,
                "TPM_DATA_CSUM reads 0x{chip:04x} and the bytes have 0x{host:04x}, \
                 {tries} times over"
            ),
            Self::Locality(locality) => {
                write!(f, "no TPM has a locality {locality} here (they are 0 to 4)")
            }
            Self::NotStarted => f.write_str("no command was started"),
            Self::OutOfTime { waited } => {
                write!(f, "no response came in {waited:?}; the command was aborted")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
