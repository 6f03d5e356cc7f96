// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on an I2C bus, through Linux's i2c-dev, for boards without a kernel
//! driver for it.
//!
//! A read is two transfers in two calls: the register, a stop, the value. (Two messages
//! in one call make a repeated start, which chips may refuse.) A NACK means that the
//! chip is busy, and the transfer is repeated. If the chip computes checksums of
//! commands and responses, they are compared.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use tpm_tis::I2c as Registers;
use tpm_tis::hal::i2c::{self as hal, ErrorKind as HalKind, NoAcknowledgeSource, Operation};

use super::open_log::Opening;
use super::tis::{self, BusError, Chip, Node, Opened, Turn, is_a_chip};
use crate::config::setting::{self, Setting, Text};
use crate::config::{self, Configured};
use crate::sys::i2c;
use crate::{Error, ErrorKind, Module, Result};

const WHO: &str = "i2c";
/// The largest number of bytes of a transfer: less than i2c-dev's limit, and more than
/// a chip's burst.
const MOST: usize = 2048;

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "",
        value: "PATH",
        default: "",
        text: "The device file of the bus that the TPM is on, as in /dev/i2c-1.",
    },
    Setting {
        key: "address",
        value: "NUMBER",
        default: "0x2e",
        text: "The TPM's address of 7 bits, 0x08 to 0x77, in hexadecimal or decimal.",
    },
    tis::SHARE,
];
const HELP: &Text = &setting::help(SETTINGS);

/// A TPM behind i2c-dev.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::i2c::I2c;
///
/// let tpm = I2c::init(Some("/dev/i2c-1,address=0x2e"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct I2c(Chip<Registers<Link>>);

/// The parsed CONF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    path: String,
    address: u8,
    share: bool,
}

impl Module for I2c {
    const NAME: &'static CStr = c"i2c";
    const DESCRIPTION: &'static CStr = c"a TPM on an I2C bus, through Linux's i2c-dev";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for I2c {
    type Config = Config;

    fn parse(conf: Option<&str>) -> Result<Config> {
        let (path, options) = tis::path_and_options(conf.unwrap_or_default());
        let mut address = tpm_tis::registers::I2C_ADDRESS;
        let mut share = false;
        for (key, value) in config::pairs(options)? {
            match key {
                "address" => address = parse_address(value)?,
                "share" => share = tis::share(WHO, value)?,
                _ => return Err(config::unknown_key(WHO, key, &setting::keys(SETTINGS))),
            }
        }
        let Some(path) = path else {
            return Err(Error::new(
                ErrorKind::BadValue,
                "i2c needs the bus's device file, as in i2c:/dev/i2c-1",
            ));
        };
        Ok(Config {
            path: path.to_owned(),
            address,
            share,
        })
    }

    fn open(config: &Config) -> Result<Self> {
        let (config, path) = (config.clone(), config.path.clone());
        let open = move || Link::open(&config);
        let opening = Opening::begin();
        let chip = Chip::open(&path, Box::new(open))?;
        opening.done(|| format!("i2c: the device \"{path}\""));
        Ok(Self(chip))
    }
}

fn parse_address(value: &str) -> Result<u8> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16),
        None => value.parse(),
    };
    match number {
        Ok(address @ 0x08..=0x77) => Ok(address),
        _ => Err(config::bad_value(WHO, "address", value, "0x08 to 0x77")),
    }
}

is_a_chip!(I2c);

/// The system's error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I2cError(Errno);

impl BusError for I2cError {
    fn errno(&self) -> Option<Errno> {
        Some(self.0)
    }
}

impl hal::Error for I2cError {
    fn kind(&self) -> HalKind {
        match self.0 {
            Errno::NXIO | Errno::REMOTEIO => HalKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
            Errno::AGAIN => HalKind::ArbitrationLoss,
            _ => HalKind::Other,
        }
    }
}

/// Transfers over an open i2c-dev.
#[derive(Debug)]
pub(crate) struct Link {
    node: Node,
    /// The buffer for the bytes of a transfer, which all transfers use.
    buffer: Vec<u8>,
}

impl Link {
    fn open(config: &Config) -> Result<Opened<Registers<Self>>> {
        let (path, address) = (&config.path, config.address);
        let node = Node::open(path, "i2c-dev")?;
        // The kernel makes transfers even if a driver uses the address. This call
        // checks that.
        match i2c::take_address(node.as_fd(), address) {
            Ok(()) => {}
            Err(Errno::NOTTY) => return Err(tis::is_no(path, "i2c-dev")),
            Err(Errno::BUSY) => {
                return Err(Error::new(
                    ErrorKind::NotPermitted,
                    format!(
                        "a kernel driver has the chip at address 0x{address:02x} of \"{path}\" \
                         (use it through the transport device, or unbind the driver)"
                    ),
                ));
            }
            Err(errno) => {
                let cause = std::io::Error::from(errno);
                let text = format!("the address 0x{address:02x} of \"{path}\" cannot be taken");
                return Err(Error::with_source(ErrorKind::IoError, text, cause));
            }
        }
        let link = Self {
            node: node.clone(),
            buffer: Vec::new(),
        };
        Ok(Opened {
            turn: Turn::new(Some(node), path, config.share),
            bus: Registers::new(link).address(address).most_bytes(MOST),
        })
    }

    /// Sends the gathered consecutive writes.
    fn flush(&mut self, address: u8) -> std::result::Result<(), I2cError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        let result = retry_on_intr(|| i2c::write(self.node.as_fd(), address, &mut buffer));
        // It may be a secret.
        buffer.fill(0);
        buffer.clear();
        self.buffer = buffer;
        result.map_err(I2cError)
    }
}

impl hal::ErrorType for Link {
    type Error = I2cError;
}

impl hal::I2c for Link {
    /// Sends consecutive writes as one transfer, and each other operation as a transfer
    /// with its own stop.
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> std::result::Result<(), I2cError> {
        for operation in operations {
            match operation {
                Operation::Write(bytes) => self.buffer.extend_from_slice(bytes),
                Operation::Read(bytes) => {
                    self.flush(address)?;
                    retry_on_intr(|| i2c::read(self.node.as_fd(), address, bytes))
                        .map_err(I2cError)?;
                }
            }
        }
        self.flush(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_is_a_path_and_options() {
        let config = |address, share| Config {
            path: "/dev/i2c-1".to_owned(),
            address,
            share,
        };
        for (conf, wanted) in [
            ("/dev/i2c-1", config(0x2e, false)),
            ("/dev/i2c-1,address=0x29", config(0x29, false)),
            ("/dev/i2c-1,address=41,share=1", config(41, true)),
        ] {
            assert_eq!(I2c::parse(Some(conf)).expect("a configuration"), wanted);
        }
        let long = "/dev/i2c-1,address=0x78";
        for conf in [
            "",
            "address=0x2e",
            long,
            "/dev/i2c-1,address=x",
            "/dev/i2c-1,speed=1",
        ] {
            let error = I2c::parse(Some(conf)).expect_err(conf);
            assert_eq!(error.kind(), ErrorKind::BadValue, "{conf}");
        }
    }

    #[test]
    fn what_is_no_i2c_bus_is_refused_when_opened() {
        for (path, words) in [
            ("/nosuch/i2c", "driver loaded"),
            ("/dev/null", "is not a device file of i2c-dev"),
        ] {
            let error = I2c::init(Some(path)).expect_err(path);
            assert!(error.report().contains(words), "{}", error.report());
            assert!(error.report().contains(path), "{}", error.report());
        }
    }

    #[test]
    fn a_nack_is_told_from_all_else() {
        use hal::Error as _;
        for errno in [Errno::NXIO, Errno::REMOTEIO] {
            let kind = I2cError(errno).kind();
            assert!(matches!(kind, HalKind::NoAcknowledge(_)), "{errno:?}");
        }
        for errno in [Errno::TIMEDOUT, Errno::IO, Errno::NODEV, Errno::AGAIN] {
            let kind = I2cError(errno).kind();
            assert!(!matches!(kind, HalKind::NoAcknowledge(_)), "{errno:?}");
        }
    }
}
