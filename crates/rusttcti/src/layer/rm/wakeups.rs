// SPDX-License-Identifier: BSD-2-Clause
//! One descriptor for an event loop. It covers every event that a client's job may wait
//! for: the transport, whose descriptor may differ for each command, a pause, or
//! another client.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFlags, epoll};
use rustix::io::Errno;

use crate::sys::descriptors::OwnFd;
use crate::sys::eventfd::EventFd;
use crate::sys::timer::Timer;
use crate::sys::watch;
use crate::{PollHandle, Result};

/// A client's descriptor, made when an event loop first asks for one.
#[derive(Debug)]
pub(super) struct Wakeups {
    epoll: OwnFd,
    /// Readable while there is something to be done at once.
    ready: EventFd<OwnFd>,
    timer: Timer,
    /// The transport's descriptors that the epoll watches.
    watched: Vec<RawFd>,
}

impl Wakeups {
    pub(super) fn new() -> Result<Self> {
        let io = |errno: Errno| std::io::Error::from(errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let epoll = epoll.and_then(OwnFd::new).map_err(io)?;
        let ready = EventFd::own().map_err(io)?;
        let timer = Timer::new()?;
        for fd in [ready.as_fd(), timer.as_fd()] {
            watch::add(epoll.as_fd(), fd.as_raw_fd(), epoll::EventFlags::IN).map_err(io)?;
        }
        Ok(Self {
            epoll,
            ready,
            timer,
            watched: Vec::new(),
        })
    }

    /// Returns the descriptor to poll.
    pub(super) fn handle(&self) -> PollHandle {
        PollHandle::readable(self.epoll.as_fd().as_raw_fd())
    }

    /// Sets whether there is something to be done at once.
    pub(super) fn set_ready(&self, ready: bool) {
        match ready {
            true => self.ready.set(),
            false => self.ready.clear(),
        }
    }

    /// Wakes the loop after a pause; `None` cancels that.
    pub(super) fn set_pause(&self, pause: Option<Duration>) {
        self.timer.set(pause);
    }

    /// Watches these descriptors of a transport, and none of the earlier ones.
    pub(super) fn watch(&mut self, handles: &[PollHandle]) {
        for fd in self.watched.drain(..) {
            if !handles.iter().any(|handle| handle.fd == fd) {
                watch::remove(self.epoll.as_fd(), fd);
            }
        }
        for handle in handles {
            let mut flags = epoll::EventFlags::empty();
            let events = PollFlags::from_bits_retain(handle.events as u16);
            flags.set(epoll::EventFlags::IN, events.contains(PollFlags::IN));
            flags.set(epoll::EventFlags::OUT, events.contains(PollFlags::OUT));
            if watch::add(self.epoll.as_fd(), handle.fd, flags).is_ok() {
                self.watched.push(handle.fd);
            }
        }
    }
}
