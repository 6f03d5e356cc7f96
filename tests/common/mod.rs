// SPDX-License-Identifier: BSD-2-Clause
//! What several tests need, once.

#![allow(dead_code)] // each test program uses its own part

pub mod alloc;
pub mod commands;
pub mod module;
pub mod scripted;
pub mod stage;
pub mod tshark;
pub mod vtable;
