// SPDX-License-Identifier: BSD-2-Clause
//! What the documents say is so.

mod architecture;
mod codes;
mod documents;
mod man;
mod readme;
