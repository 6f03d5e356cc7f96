// SPDX-License-Identifier: BSD-2-Clause
//! Tests of what the documents and the sources claim of each other.

mod architecture;
mod codes;
mod documents;
mod man;
mod readme;
