// SPDX-License-Identifier: BSD-2-Clause
//! A TPM on an FTDI USB bridge (FT232H), as a module: `-T ftdi` or `-T ftdi:HZ`.
//!
//! D0 is SCK, D1 MOSI, D2 MISO, and D3 chip select.

use std::ffi::CStr;
use std::fmt::Display;
use std::time::{Duration, Instant};

use ftdi_embedded_hal::libftd2xx::Ft232h;
use ftdi_embedded_hal::{Delay, FtHal, OutputPin, Spi as FtdiSpi};
use rusttcti::{Error, ErrorKind, Module, Result, Tcti};
use tpm_tis::hal::delay::DelayNs;
use tpm_tis::{Clock, PinLink, Spi, Tis};

/// The clock of the bus where none is named, in hertz.
const SPEED: u32 = 5_000_000;

type Bus = Spi<PinLink<FtdiSpi<Ft232h>, OutputPin<Ft232h>>>;

/// This computer's clock.
struct SystemClock(Instant, Delay);

impl DelayNs for SystemClock {
    fn delay_ns(&mut self, ns: u32) {
        self.1.delay_ns(ns);
    }
}

impl Clock for SystemClock {
    fn now(&mut self) -> Duration {
        self.0.elapsed()
    }
}

struct Ftdi(Tis<Bus, SystemClock>);

fn failed(doing: &str, error: impl Display) -> Error {
    Error::new(ErrorKind::IoError, format!("{doing}: {error}"))
}

impl Tcti for Ftdi {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        let started = self.0.start(command);
        started.map_err(|error| failed("cannot send the command", error))
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        let received = self.0.wait(response, timeout);
        let received = received.map_err(|error| failed("cannot read the response", error))?;
        received.ok_or_else(|| ErrorKind::TryAgain.into())
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        let set = self.0.set_locality(locality);
        set.map_err(|error| failed("cannot set the locality", error))
    }

    fn finalize(&mut self) -> Result<()> {
        let released = self.0.release();
        released.map_err(|error| failed("cannot release the TPM", error))
    }
}

impl Module for Ftdi {
    const NAME: &'static CStr = c"ftdi";
    const DESCRIPTION: &'static CStr = c"a TPM on an FTDI FT232H USB bridge";
    const CONFIG_HELP: &'static CStr = c"HZ (default 5000000)";

    fn init(conf: Option<&str>) -> Result<Self> {
        let speed = match conf {
            None | Some("") => SPEED,
            Some(text) => text.parse().map_err(|_| {
                let text = format!("\"{text}\" is no number of hertz (as in 5000000)");
                Error::new(ErrorKind::BadValue, text)
            })?,
        };
        let device = Ft232h::with_description("Single RS232-HS");
        let device = device.map_err(|error| failed("no FT232H is there", error))?;
        let bridge = FtHal::init_freq(device, speed);
        let bridge = bridge.map_err(|error| failed("the FT232H does not start", error))?;
        let bus = bridge.spi().map_err(|error| failed("no SPI", error))?;
        let pin = bridge.ad3().map_err(|error| failed("no pin D3", error))?;
        let clock = SystemClock(Instant::now(), Delay::new());
        let mut tis = Tis::new(Spi::new(PinLink::new(bus, pin)), clock);
        tis.open()
            .map_err(|error| failed("cannot use the TPM", error))?;
        Ok(Self(tis))
    }
}

rusttcti::export!(Ftdi, Tss2_Tcti_Ftdi_Init);
