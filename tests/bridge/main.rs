// SPDX-License-Identifier: BSD-2-Clause
//! The bridge between C and a transport: arguments, states, failures, threads, fork.

mod arguments;
mod failures;
mod fork;
mod model;
mod states;
mod threads;
mod unload;
