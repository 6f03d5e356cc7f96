// SPDX-License-Identifier: BSD-2-Clause
//! The layer rm over real TPMs.

mod fork;
mod model;
mod objects;
mod shared;
mod tpm;
