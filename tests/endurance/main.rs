// SPDX-License-Identifier: BSD-2-Clause
//! Long and heavy use: `make soak`, `make load`.

mod load;
mod soak;
