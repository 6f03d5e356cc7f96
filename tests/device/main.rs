// SPDX-License-Identifier: BSD-2-Clause
//! The transport device, on ptys and in a guest kernel, and spidev and i2c there.

mod guest;
mod guest_buses;
mod transport;
