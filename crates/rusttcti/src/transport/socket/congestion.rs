// SPDX-License-Identifier: BSD-2-Clause
//! Connects to a peer that many clients connect to at the same time.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::stream::{Address, Fault, Stream, backlog};
use crate::sys::deadline::Deadline;
use crate::sys::long_wait::LongWait;

/// How long a peer on this machine may leave a connection unanswered before it is
/// tried anew; each further try has twice the time. The kernel would try again
/// after 1, 3 and 7 s only, and other clients would take each free entry of the
/// peer's backlog in between.
pub(super) const REDIAL: Duration = Duration::from_millis(10);

/// The longest of these times. With a shorter one, clients that try anew would
/// leave no entry of the backlog to those for which the kernel tries.
const LONGEST: Duration = Duration::from_millis(320);

/// How long a peer counts as congested after a connection had to be tried anew.
const CONGESTED: Duration = Duration::from_secs(10);

/// Connects, and does what comes `first` over the connection. `first` is given
/// the time by which the connection must be answered. If `redial` is set, the
/// socket may be exchanged for another.
pub(super) fn reach(
    to: &Address,
    mut stream: Stream,
    redial: bool,
    congestion: &mut Congestion,
    deadline: Deadline,
    first: impl Fn(&Stream, Deadline) -> std::result::Result<(), Fault>,
) -> (Stream, std::result::Result<(), Fault>) {
    let redial = redial && to.answers_at_once();
    let mut pause = REDIAL;
    let mut waiting = None;
    loop {
        let answered = match redial {
            true => deadline.or_after(pause),
            false => deadline,
        };
        pause = (2 * pause).min(LONGEST);
        let done = stream
            .start(to, deadline)
            .and_then(|()| first(&stream, answered));
        if done != Err(Fault::TimedOut) || !redial || deadline.is_over() {
            return (stream, done);
        }
        congestion.seen();
        log_wait(&mut waiting, to);
        if stream.is_connected() {
            // The answer came just now.
            let done = first(&stream, deadline);
            return (stream, done);
        }
        match Stream::new(to) {
            Ok(other) => stream = other,
            Err(fault) => return (stream, Err(fault)),
        }
    }
}

/// Connects to a congested peer, and sends the first bytes of a command. They have
/// surely arrived when this returns.
///
/// Of the clients that connect at the same time, the kernel reports to more that they
/// are connected than the peer's backlog has room for. What the others send is
/// discarded, and sent again by the kernel after 200 ms, then after twice as long each
/// time, until the backlog has room: that was seen to take a minute. So a client that
/// was left out tries anew. It may do so as long as nothing was sent that the peer
/// could execute.
pub(super) fn reach_congested(
    to: &Address,
    mut stream: Stream,
    deadline: Deadline,
    ahead: &[u8],
) -> (Stream, std::result::Result<(), Fault>) {
    let mut pause = REDIAL;
    let mut waiting = None;
    loop {
        let answered = deadline.or_after(pause);
        pause = (2 * pause).min(LONGEST);
        let done = stream
            .start(to, deadline)
            .and_then(|()| stream.send_once_connected(&[], ahead, answered, answered))
            .and_then(|()| stream.arrived(answered));
        if done != Err(Fault::TimedOut) || deadline.is_over() {
            return (stream, done);
        }
        stream.discard();
        log_wait(&mut waiting, to);
        match Stream::new(to) {
            Ok(other) => stream = other,
            Err(fault) => return (stream, Err(fault)),
        }
    }
}

/// Logs a wait that began with the first call.
#[cold]
fn log_wait(waiting: &mut Option<LongWait>, to: &Address) {
    waiting
        .get_or_insert_with(LongWait::begin)
        .log_if_long(|| backlog(to));
}

/// When other clients were last seen to compete for the peer's backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Congestion(Option<Instant>);

impl Congestion {
    pub(super) fn seen(&mut self) {
        self.0 = Some(Instant::now());
    }

    /// Returns the later of the two.
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    pub(super) fn is_present(self) -> bool {
        self.0.is_some_and(|seen| seen.elapsed() < CONGESTED)
    }
}
