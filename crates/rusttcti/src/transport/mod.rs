// SPDX-License-Identifier: BSD-2-Clause
//! Transports: the ways to a TPM, each in its own module. [`open`](crate::open) opens
//! them by name, as in `swtpm:port=2321`; [`Module::init`](crate::Module::init) opens
//! one from its CONF alone.
//!
//! | name | CONF | the TPM |
//! | --- | --- | --- |
//! | [`device`] | the path of a device; none is /dev/tpmrm0, /dev/tpm0, /dev/tcm0, the first that opens | behind the kernel's driver |
//! | [`swtpm`] | `host=HOST,port=PORT` (localhost, 2321) or `path=PATH`; `persistent=1` and `wait=SECONDS` in addition | a process of swtpm |
//! | [`mssim`] | `host=HOST,port=PORT` (localhost, 2321) or `path=PATH`; `wait=SECONDS` in addition | a simulator, or what speaks its protocol |
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
//!
//! # Write a transport
//!
//! If a byte stream leads to the TPM (a network, a serial line or pipes),
//! [`Stream`](crate::Stream) is the transport, and a type of 20 lines around it gives
//! it a name. The page of [`Tcti`](crate::Tcti) shows one. Other transports implement
//! [`Tcti`](crate::Tcti) themselves. In this crate's sources, `null` is the smallest
//! whole example, and `device` is one with a descriptor. `make new-module NAME=foo`
//! makes a crate with tests; [`Chains`](crate::Chains) gives a transport a name within
//! one program.

pub mod cmd;
pub mod device;
pub mod i2c;
#[cfg(feature = "libtpms")]
pub mod libtpms;
#[cfg(feature = "libtpms")]
pub mod libtpms_copy;
pub mod mssim;
pub mod null;
pub(crate) mod open_log;
pub mod replay;
mod sent_command;
mod socket;
pub mod spidev;
pub(crate) mod stream;
pub mod swtpm;
mod tis;

pub use socket::PeerAddress;
