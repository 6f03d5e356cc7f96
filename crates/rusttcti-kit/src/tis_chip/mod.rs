// SPDX-License-Identifier: BSD-2-Clause
//! A simulated TIS chip on SPI or I2C with a TPM of libtpms. It can be a device file as
//! well: /dev/spidevN.N and /dev/i2c-N by CUSE, if the kernel has it, so that programs
//! use it through spidev's and i2c-dev's ioctls.
//!
//! The chip is [`tpm_tis::model`], with that model's faults.

mod cuse;
mod i2c;
mod spidev;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusttcti::Tcti;
use rusttcti::transport::libtpms::Libtpms;
pub use tpm_tis::model::{Chip, Counts, Faults, Level, Traits};

use cuse::Cuse;

/// Returns a chip with a new TPM of libtpms, which runs in real time.
///
/// # Errors
/// Those of libtpms.
pub fn over_libtpms(traits: Traits, faults: Faults) -> rusttcti::Result<Chip> {
    let mut tpm = Libtpms::builder().open()?;
    let canceller = tpm.canceller();
    let execute = move |command: &[u8]| {
        let mut response = vec![0; 4096];
        let received = tpm
            .transmit(command)
            .and_then(|()| tpm.receive(&mut response, None));
        match received {
            Ok(size) => response.truncate(size),
            // TPM_RC_FAILURE.
            Err(_) => response = vec![0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1],
        }
        response
    };
    let chip = Chip::in_real_time(execute, traits, faults);
    if let Some(canceller) = canceller {
        // A command that has ended already needs no cancel.
        chip.on_cancel(Box::new(move || drop(canceller.cancel())));
    }
    Ok(chip)
}

/// A device file with a chip behind it, removed when this is dropped.
#[derive(Debug)]
pub struct DeviceFile {
    path: String,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl DeviceFile {
    /// Makes /dev/`name` a spidev with the chip's SPI interface.
    ///
    /// # Errors
    /// Those of the system, if it has no CUSE (`modprobe cuse`, root).
    pub fn spidev(name: &str, chip: &Chip) -> io::Result<Self> {
        Self::serve(name, spidev::Spidev::new(chip.spi()))
    }

    /// Makes /dev/`name` an i2c-dev with the chip's I2C interface.
    ///
    /// # Errors
    /// Those of [`spidev`](Self::spidev).
    pub fn i2c(name: &str, chip: &Chip) -> io::Result<Self> {
        Self::serve(name, i2c::I2cDev::new(chip.i2c()))
    }

    fn serve(name: &str, device: impl cuse::Device + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut cuse = Cuse::new(name)?;
        let stopped = stop.clone();
        let server = std::thread::spawn(move || cuse.serve(device, &stopped));
        let file = Self {
            path: format!("/dev/{name}"),
            stop,
            server: Some(server),
        };
        file.wait(true)?;
        Ok(file)
    }

    /// Returns the path of the device file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Waits until the file exists, or does not.
    fn wait(&self, there: bool) -> io::Result<()> {
        for _ in 0..5000 {
            if std::path::Path::new(&self.path).exists() == there {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other(format!("{}: no such device", self.path)))
    }
}

impl Drop for DeviceFile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            match server.join() {
                Ok(Ok(())) => {}
                other => eprintln!("{}: {other:?}", self.path),
            }
        }
        let _ = self.wait(false);
    }
}
