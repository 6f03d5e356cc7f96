// SPDX-License-Identifier: BSD-2-Clause
//! Other programs over the module.

mod commands;
mod pytss;
mod tabrmd;
mod tss_esapi;
mod valgrind;
