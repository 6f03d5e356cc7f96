// SPDX-License-Identifier: BSD-2-Clause
//! `rusttcti::wire`, compared with real TPMs and with tpm2-tss's headers.

mod names;
mod table;
mod tpm;
