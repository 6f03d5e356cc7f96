// SPDX-License-Identifier: BSD-2-Clause
//! Getting through to a peer that others get through to as well.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::stream::{Address, Fault, Stream};
use crate::sys::deadline::Deadline;

/// How long a peer on this machine may at first leave a connection unanswered
/// until it is tried anew; each time twice as long. The kernel itself would ask
/// again after 1, 3 and 7 s, and in between others take each place in the
/// peer's backlog that becomes free.
pub(super) const REDIAL: Duration = Duration::from_millis(10);

/// The longest of these times. With shorter ones, those who try anew leave no
/// place to those for whom the kernel does.
const LONGEST: Duration = Duration::from_millis(320);

/// How long the peer counts as crowded after a connection had to be tried anew.
const CROWD: Duration = Duration::from_secs(10);

/// Connects, and does what comes `first` over the connection: by the time that
/// it is given, if there is none until then. Where `redial` is set it may come
/// to be another socket.
pub(super) fn reach(
    to: &Address,
    mut stream: Stream,
    redial: bool,
    crowd: &mut Crowd,
    deadline: Deadline,
    first: impl Fn(&Stream, Deadline) -> std::result::Result<(), Fault>,
) -> (Stream, std::result::Result<(), Fault>) {
    let redial = redial && to.answers_at_once();
    let mut pause = REDIAL;
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
        crowd.seen();
        if stream.is_connected() {
            // It was answered after all, in this moment.
            let done = first(&stream, deadline);
            return (stream, done);
        }
        match Stream::new(to) {
            Ok(other) => stream = other,
            Err(fault) => return (stream, Err(fault)),
        }
    }
}

/// Connects to a crowded peer, and sends the first bytes of a command that have
/// surely arrived when this returns.
///
/// Of those who connect at one moment the kernel tells more that they are
/// connected than the peer's backlog has room for. What they send is thrown
/// away, and sent again by the kernel after 200 ms, then after twice as long
/// each time, until it meets a free place: that was seen to take a minute. So
/// one who was left out tries anew, which it may do as long as nothing was sent
/// that the peer could execute.
pub(super) fn reach_in_crowd(
    to: &Address,
    mut stream: Stream,
    deadline: Deadline,
    ahead: &[u8],
) -> (Stream, std::result::Result<(), Fault>) {
    let mut pause = REDIAL;
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
        match Stream::new(to) {
            Ok(other) => stream = other,
            Err(fault) => return (stream, Err(fault)),
        }
    }
}

/// When others were last seen to compete for a place in the peer's backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crowd(Option<Instant>);

impl Crowd {
    pub(super) fn seen(&mut self) {
        self.0 = Some(Instant::now());
    }

    /// The later sight of two.
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    pub(super) fn is_there(self) -> bool {
        self.0.is_some_and(|seen| seen.elapsed() < CROWD)
    }
}
