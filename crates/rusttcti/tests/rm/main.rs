// SPDX-License-Identifier: BSD-2-Clause
//! The layer rm over real TPMs.

mod fork;
mod objects;
mod tpm;
