// SPDX-License-Identifier: BSD-2-Clause
//! A resource manager without a daemon: `rm[,share=0|1][,fork=1][,leftovers=keep|flush]:CHILD`.

#![forbid(unsafe_code)]

mod after;
mod answers;
mod before;
mod capability;
mod clients;
mod command;
mod engine;
mod objects;
mod outcome;
mod own;
mod resolve;
mod sessions;
mod spaces;
