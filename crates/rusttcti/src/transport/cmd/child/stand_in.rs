// SPDX-License-Identifier: BSD-2-Clause
//! A child without a process, for the fuzzer: the fuzzer itself holds the other ends of
//! the pipes.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex};

use super::{Child, Ending, Pipes, Report, Supervision, event, failed};
use crate::Result;
use crate::sys::descriptors::OwnFd;
use crate::sys::fork::Generation;

thread_local! {
    static NEXT: RefCell<VecDeque<StandIn>> = const { RefCell::new(VecDeque::new()) };
}

/// This side's ends of a command's pipes.
#[derive(Debug)]
pub struct StandIn {
    /// The pipe to write TPM commands to.
    pub stdin: OwnedFd,
    /// The other end of `stdin`.
    pub their_stdin: OwnedFd,
    /// The pipe to read responses from.
    pub stdout: OwnedFd,
    /// How the command ended, if it has.
    pub ended: Option<String>,
}

/// Makes `child` the next command that this thread starts.
pub fn put(child: StandIn) {
    NEXT.with_borrow_mut(|next| next.push_back(child));
}

/// Drops the children that were not started.
pub fn clear() {
    NEXT.with_borrow_mut(VecDeque::clear);
}

pub(super) fn next() -> Option<Result<Child>> {
    let child = NEXT.with_borrow_mut(VecDeque::pop_front)?;
    Some(start(child))
}

fn start(child: StandIn) -> Result<Child> {
    rustix::io::ioctl_fionbio(&child.stdin, true).map_err(failed)?;
    let has_ended = child.ended.is_some();
    let shared = Arc::new(Supervision {
        report: Mutex::new(Report {
            failure: None,
            ended: child.ended,
        }),
        changed: event()?,
        ending: AtomicU8::new(Ending::Gently as u8),
        stop: event()?,
    });
    if has_ended {
        shared.changed.set();
    }
    Ok(Child {
        generation: Generation::current(),
        pipes: Some(Pipes {
            stdin: OwnFd::new(child.stdin).map_err(failed)?,
            _no_sigpipe: OwnFd::new(child.their_stdin).map_err(failed)?,
            stdout: OwnFd::new(child.stdout).map_err(failed)?,
        }),
        shared,
        thread: None,
    })
}
