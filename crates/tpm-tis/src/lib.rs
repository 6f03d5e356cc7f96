// SPDX-License-Identifier: BSD-2-Clause
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_debug_implementations, missing_docs)]
#![warn(unreachable_pub)]

#[cfg(feature = "model")]
extern crate std;

mod bus;
mod checksum;
mod error;
mod i2c;
#[cfg(feature = "model")]
pub mod model;
pub mod registers;
mod spi;
mod time;
mod tis;

pub use bus::{Bus, Fault};
pub use checksum::crc16;
pub use error::Error;
pub use i2c::I2c;
pub use spi::{DegradedSpi, PinError, PinLink, Spi, SpiLink};
pub use time::{Clock, Timeouts, Timer};
pub use tis::{Identity, LAST_LOCALITY, Result, Tis};

/// The traits of buses, pins and delays, in the version that this crate uses.
pub use embedded_hal as hal;
