// SPDX-License-Identifier: BSD-2-Clause
//! The layers.

mod flush;
mod inherit;
mod pcap;
mod pcap_upstream;
