// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on an SPI bus, through Linux's spidev, for boards without a kernel
//! driver for it.
//!
//! Chip select must stay asserted from the header of an access to the end of the data,
//! including the chip's wait states. Their number is known only during the access. So
//! an access is several messages of one segment each: the header of 4 bytes, single
//! bytes while the chip waits, and the data. `cs_change` in a message's last segment
//! asks the kernel to leave chip select asserted until the next message. The message
//! with the data does not set it, so it releases chip select. This works if the kernel
//! drives chip select (a GPIO, or a register of the controller). A controller that
//! toggles chip select around each message returns garbage, and opening the context
//! fails.

#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::io::Errno;
use tpm_tis::{Spi, SpiLink};

use super::open_log::Opening;
use super::tis::{self, BusError, Chip, Node, Opened, Turn, is_a_chip};
use crate::config::setting::{self, Setting, Text};
use crate::config::{self, Configured};
use crate::sys::spi::{self, ChipSelect};
use crate::{Error, ErrorKind, Module, Result};

const WHO: &str = "spidev";
/// The default device, which is also that of tpm2-tss.
const DEFAULT: &str = "/dev/spidev0.1";
/// The mode of a TPM's bus.
const MODE: u8 = 0;

/// The settings of CONF.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "",
        value: "PATH",
        default: DEFAULT,
        text: "The device file of the bus and chip select that the TPM is on.",
    },
    Setting {
        key: "speed",
        value: "HZ",
        default: "the device's own",
        text: "The clock of the bus in hertz, 1 to 4294967295.",
    },
    tis::SHARE,
];
const HELP: &Text = &setting::help(SETTINGS);

/// A TPM behind spidev.
///
/// ```no_run
/// use rusttcti::Module;
/// use rusttcti::transport::spidev::Spidev;
///
/// let tpm = Spidev::init(Some("/dev/spidev0.1,speed=10000000"))?;
/// # Ok::<(), rusttcti::Error>(())
/// ```
#[derive(Debug)]
pub struct Spidev(Chip<Spi<Link>>);

/// The parsed CONF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    path: String,
    /// In hertz; 0 for the device's own.
    speed: u32,
    share: bool,
}

impl Module for Spidev {
    const NAME: &'static CStr = c"spidev";
    const DESCRIPTION: &'static CStr = c"a TPM on an SPI bus, through Linux's spidev";
    const CONFIG_HELP: &'static CStr = HELP.as_c_str();

    fn init(conf: Option<&str>) -> Result<Self> {
        Self::open(&Self::parse(conf)?)
    }
}

impl Configured for Spidev {
    type Config = Config;

    fn parse(conf: Option<&str>) -> Result<Config> {
        let (path, options) = tis::path_and_options(conf.unwrap_or_default());
        let mut config = Config {
            path: path.unwrap_or(DEFAULT).to_owned(),
            speed: 0,
            share: false,
        };
        for (key, value) in config::pairs(options)? {
            match key {
                "speed" => config.speed = speed(value)?,
                "share" => config.share = tis::share(WHO, value)?,
                _ => return Err(config::unknown_key(WHO, key, &setting::keys(SETTINGS))),
            }
        }
        Ok(config)
    }

    fn open(config: &Config) -> Result<Self> {
        let (config, path) = (config.clone(), config.path.clone());
        let open = move || Link::open(&config);
        let opening = Opening::begin();
        let chip = Chip::open(&path, Box::new(open))?;
        opening.done(|| format!("spidev: the device \"{path}\""));
        Ok(Self(chip))
    }
}

fn speed(value: &str) -> Result<u32> {
    match value.parse() {
        Ok(speed) if speed > 0 => Ok(speed),
        _ => {
            let allowed = "a number of hertz, 1 to 4294967295";
            Err(config::bad_value(WHO, "speed", value, allowed))
        }
    }
}

is_a_chip!(Spidev);

/// The system's error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpiError(Errno);

impl BusError for SpiError {
    fn errno(&self) -> Option<Errno> {
        Some(self.0)
    }
}

/// Transfers over an open spidev.
#[derive(Debug)]
pub(crate) struct Link {
    node: Node,
    speed: u32,
}

impl Link {
    fn open(config: &Config) -> Result<Opened<Spi<Self>>> {
        let path = &config.path;
        let node = Node::open(path, "spidev")?;
        let mut turn = Turn::new(Some(node.clone()), path, config.share);
        // Another program's access must not be broken off.
        turn.take()?;
        // A program that was killed may have left chip select asserted, which its
        // end doesn't release, and another mode: this mends both.
        match spi::set_mode(node.as_fd(), MODE) {
            Ok(()) => {}
            Err(Errno::NOTTY) => return Err(tis::is_no(path, "spidev")),
            Err(errno) => {
                let cause = std::io::Error::from(errno);
                let text = format!("\"{path}\" cannot be set to SPI mode 0");
                return Err(Error::with_source(ErrorKind::IoError, text, cause));
            }
        }
        Ok(Opened {
            turn,
            bus: Spi::new(Self {
                node,
                speed: config.speed,
            }),
        })
    }

    fn send(&self, bytes: &mut [u8], then: ChipSelect) -> std::result::Result<(), SpiError> {
        spi::transfer(self.node.as_fd(), bytes, self.speed, then).map_err(SpiError)
    }
}

impl SpiLink for Link {
    type Error = SpiError;

    fn begin(&mut self) -> std::result::Result<(), SpiError> {
        // The first message asserts chip select.
        Ok(())
    }

    fn transfer(&mut self, bytes: &mut [u8]) -> std::result::Result<(), SpiError> {
        self.send(bytes, ChipSelect::Keep)
    }

    fn end(&mut self) -> std::result::Result<(), SpiError> {
        self.send(&mut [], ChipSelect::Release)
    }

    fn finish(&mut self, bytes: &mut [u8]) -> std::result::Result<(), SpiError> {
        self.send(bytes, ChipSelect::Release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &str, speed: u32, share: bool) -> Config {
        Config {
            path: path.to_owned(),
            speed,
            share,
        }
    }

    #[test]
    fn conf_is_a_path_and_options_and_all_of_it_can_be_left_out() {
        for (conf, wanted) in [
            (None, config("/dev/spidev0.1", 0, false)),
            (Some(""), config("/dev/spidev0.1", 0, false)),
            (Some("/dev/spidev1.0"), config("/dev/spidev1.0", 0, false)),
            (
                Some("speed=5000000"),
                config("/dev/spidev0.1", 5_000_000, false),
            ),
            (Some("/dev/x,speed=1,share=1"), config("/dev/x", 1, true)),
        ] {
            assert_eq!(Spidev::parse(conf).expect("a configuration"), wanted);
        }
        for conf in [
            "/dev/x,speed=0",
            "speed=fast",
            "share=2",
            "/dev/x,mode=3",
            "/dev/x,y",
        ] {
            let error = Spidev::parse(Some(conf)).expect_err(conf);
            assert_eq!(error.kind(), ErrorKind::BadValue, "{conf}");
        }
    }

    #[test]
    fn what_is_no_spidev_is_refused_when_opened() {
        for (path, words) in [
            ("/nosuch/spidev", "driver loaded"),
            ("/dev/null", "is not a device file of spidev"),
            ("/tmp", "cannot open"),
        ] {
            let error = Spidev::init(Some(path)).expect_err(path);
            assert!(error.report().contains(words), "{}", error.report());
            assert!(error.report().contains(path), "{}", error.report());
        }
    }
}
