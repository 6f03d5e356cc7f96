// SPDX-License-Identifier: BSD-2-Clause
//! The TPM Interface Specification (TIS) over SPI and I2C, without an operating system.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
