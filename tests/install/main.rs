// SPDX-License-Identifier: BSD-2-Clause
//! The build, the installed files and the packages.

mod compile_errors;
mod examples;
mod features;
mod header;
mod new_module;
mod packaging;
mod ports;
mod setup;
mod tree;
