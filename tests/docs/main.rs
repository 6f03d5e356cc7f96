// SPDX-License-Identifier: BSD-2-Clause
//! Tests that the documents and the sources agree.

mod architecture;
mod codes;
mod documents;
mod man;
mod readme;
