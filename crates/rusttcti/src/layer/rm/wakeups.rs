// SPDX-License-Identifier: BSD-2-Clause
//! One descriptor for an event loop, whatever the client's job waits for: the
//! transport, which may have another descriptor for each command, a pause, or
//! another client.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::sys::descriptors::OwnFd;
use crate::sys::watch;
use crate::{PollHandle, Result};

/// Made when an event loop first asks for descriptors.
#[derive(Debug)]
pub(super) struct Wakeups {
    epoll: OwnFd,
    /// Readable while there is something to be done at once.
    event: OwnFd,
    timer: OwnFd,
    /// The transport's descriptors that the epoll has.
    watched: Vec<RawFd>,
}

impl Wakeups {
    pub(super) fn new() -> Result<Self> {
        let io = |errno: Errno| std::io::Error::from(errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let epoll = epoll.and_then(OwnFd::new).map_err(io)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).and_then(OwnFd::new).map_err(io)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags);
        let timer = timer.and_then(OwnFd::new).map_err(io)?;
        let wakeups = Self {
            epoll,
            event,
            timer,
            watched: Vec::new(),
        };
        wakeups.add(wakeups.event.as_fd(), epoll::EventFlags::IN)?;
        wakeups.add(wakeups.timer.as_fd(), epoll::EventFlags::IN)?;
        Ok(wakeups)
    }

    fn add(&self, fd: BorrowedFd<'_>, flags: epoll::EventFlags) -> Result<()> {
        let data = epoll::EventData::new_u64(0);
        match epoll::add(&self.epoll, fd, data, flags) {
            Err(Errno::EXIST) => epoll::modify(&self.epoll, fd, data, flags),
            done => done,
        }
        .map_err(|errno| std::io::Error::from(errno).into())
    }

    /// Returns what to poll.
    pub(super) fn handle(&self) -> PollHandle {
        PollHandle::readable(self.epoll.as_fd().as_raw_fd())
    }

    /// Says whether there is something to be done at once.
    pub(super) fn set_ready(&self, ready: bool) {
        let done = match ready {
            true => rustix::io::write(&self.event, &1u64.to_ne_bytes()),
            false => rustix::io::read(&self.event, &mut [0; 8]),
        };
        // It is that way already.
        let _ = done;
    }

    /// Has the loop woken after a pause; without one, not at all.
    pub(super) fn set_pause(&self, pause: Option<Duration>) {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A time of zero would disarm it.
        let pause = pause.map(|pause| pause.max(Duration::from_nanos(1)));
        let value = pause
            .and_then(|pause| pause.try_into().ok())
            .unwrap_or(zero);
        let time = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        if let Err(errno) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time) {
            crate::sys::log::debug!("rm: a timer: {errno}");
        }
    }

    /// Watches these of a transport's, and those from before no more.
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
