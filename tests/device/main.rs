// SPDX-License-Identifier: BSD-2-Clause
//! The transport device, on ptys and in a guest kernel.

mod guest;
mod transport;
