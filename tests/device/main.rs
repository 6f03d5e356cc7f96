// SPDX-License-Identifier: BSD-2-Clause
//! The transport device, over pseudo terminals and in a guest kernel, and the
//! transports spidev and i2c in the guest kernel.

mod guest;
mod guest_buses;
mod transport;
