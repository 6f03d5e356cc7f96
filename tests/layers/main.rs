// SPDX-License-Identifier: BSD-2-Clause
//! The layers.

mod deadline;
mod defaults;
mod fault;
mod flush;
mod pcap;
mod pcap_upstream;
mod power;
mod replay;
mod retry;
mod trace;
mod wrong_retry;
