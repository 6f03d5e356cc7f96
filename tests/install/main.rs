// SPDX-License-Identifier: BSD-2-Clause
//! What is built, installed and packaged.

mod compile_errors;
mod examples;
mod features;
mod header;
mod new_module;
mod packaging;
mod ports;
mod setup;
mod tree;
