// SPDX-License-Identifier: BSD-2-Clause
//! `rusttcti::wire`, held against real TPMs and against tpm2-tss's headers.

mod names;
mod table;
mod tpm;
