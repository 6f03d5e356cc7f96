// SPDX-License-Identifier: BSD-2-Clause
//! Transports: the ways to a TPM, one a module. [`open`](crate::open) makes
//! them from a string, and [`Module::init`](crate::Module::init) from their CONF.
//!
//! | name | CONF | the TPM |
//! | --- | --- | --- |
//! | [`device`] | the path of a device; none is /dev/tpmrm0, /dev/tpm0, /dev/tcm0, the first that opens | behind the kernel's driver |
//! | [`swtpm`] | `host=HOST,port=PORT` (localhost, 2321) or `path=PATH`; `persistent=1` in addition | a process of swtpm |
//! | [`mssim`] | `host=HOST,port=PORT` (localhost, 2321) or `path=PATH` | a simulator, or what speaks its protocol |
//! | [`cmd`] | a command line for `/bin/sh -c` | at the other end of its pipes |
//! | [`libtpms`] | the path of a state file; none is a TPM in memory | inside the process |
//! | [`spidev`] | the path of a device, /dev/spidev0.1 if none; `speed=HZ`, `share=0` or `share=1` in addition | on an SPI bus |
//! | [`i2c`] | the path of a bus; `address=NUMBER` (0x2e), `share=0` or `share=1` in addition | on an I2C bus |
//! | [`libtpms-copy`] | the path of a state file, which is never written | inside the process, in memory; it starts from the file |
//! | [`replay`] | `FILE`, a recording, and `match=strict\|code` | none: the recording answers |
//! | [`null`] | ignored | none |
//!
//! [`libtpms-copy`]: libtpms_copy
//!
//! The manual page tss2-tcti-rusttcti(7) says what each key means, with its range.

pub mod cmd;
pub mod device;
pub mod i2c;
#[cfg(feature = "libtpms")]
pub mod libtpms;
#[cfg(feature = "libtpms")]
pub mod libtpms_copy;
pub mod mssim;
pub mod null;
pub mod replay;
mod socket;
pub mod spidev;
pub(crate) mod stream;
pub mod swtpm;
mod tis;

pub use socket::PeerAddress;
