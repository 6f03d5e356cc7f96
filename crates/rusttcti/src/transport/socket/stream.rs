// SPDX-License-Identifier: BSD-2-Clause
//! One connection: it is made, written and read with few system calls and by a
//! deadline.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, connect, getpeername, recv, send, sendmsg, sendto, shutdown,
    socket_with, sockopt,
};

use crate::sys::deadline::{Deadline, PATIENCE};
use crate::sys::descriptors::OwnFd;
use crate::sys::long_wait::LongWait;
use crate::sys::poll;
use crate::sys::send_queue::unacknowledged;
use crate::transport::sent_command::SLICE;
use crate::{Error, ErrorKind};

type Result<T> = std::result::Result<T, Fault>;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Address {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

/// A failure of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Fault {
    /// The deadline came first.
    TimedOut,
    /// The call failed.
    Errno(Errno),
}

impl Fault {
    /// Returns whether there is no connection, or none any more.
    pub(in crate::transport) fn is_lost(self) -> bool {
        matches!(
            self,
            Self::Errno(
                Errno::CONNREFUSED
                    | Errno::CONNRESET
                    | Errno::CONNABORTED
                    | Errno::PIPE
                    | Errno::NOTCONN
                    | Errno::NOENT
            )
        )
    }

    /// Returns the error that says `what` could not be done, and why.
    pub(in crate::transport) fn error(self, what: String) -> Error {
        match self {
            Self::TimedOut => Error::new(
                ErrorKind::IoError,
                format!("{what}: no progress within {} s", PATIENCE.as_secs()),
            ),
            Self::Errno(errno) => {
                let cause = std::io::Error::from(errno);
                let text = format!("{what}: {}", words(&cause));
                let kind = match Error::from(cause).kind() {
                    _ if self.is_lost() => ErrorKind::NoConnection,
                    ErrorKind::TryAgain => ErrorKind::IoError,
                    kind => kind,
                };
                Error::new(kind, text)
            }
        }
    }
}

/// Returns the text of an error, such as "connection refused", without std's "(os error
/// 111)".
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text.to_owned(),
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// A connected (or connecting) stream socket. No forked child shares it, so the
/// peer sees our close whatever the program forks.
#[derive(Debug)]
pub(in crate::transport) struct Stream {
    fd: OwnFd,
    /// Whether the descriptor is not O_NONBLOCK.
    blocking: bool,
    /// Whether a blocking read gives up after a slice of time.
    is_sliced: bool,
}

/// Whether the kernel has no client side of TCP Fast Open.
static NO_FAST_OPEN: AtomicBool = AtomicBool::new(false);

/// How `arrived` looks whether what was sent has arrived: so many times at once,
/// because it mostly takes 20 us, then after pauses between these times.
const LOOKS: u32 = 30;
const ARRIVAL: Duration = Duration::from_micros(20);
const LONG_ARRIVAL: Duration = Duration::from_millis(1);

/// MSG_FASTOPEN of linux/tcp.h.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

impl Address {
    /// Returns whether a blocking socket can begin to connect without blocking: by
    /// an empty MSG_FASTOPEN, with which sendto(2) has the MSG_DONTWAIT that
    /// connect(2) lacks. It saves the poll(2) before each read. Used on
    /// loopback alone, so that no middlebox ever sees the TCP option.
    fn connects_aside(&self) -> bool {
        self.answers_at_once() && !NO_FAST_OPEN.load(Ordering::Relaxed)
    }

    /// Returns whether an unanswered connection means that the peer's backlog is full
    /// at this moment.
    pub(super) fn answers_at_once(&self) -> bool {
        match self {
            Self::Tcp(to) => to.ip().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(to) => write!(f, "{to}"),
            Self::Unix(to) => f.write_str(&named(to)),
        }
    }
}

fn named(socket: &SocketAddrUnix) -> String {
    let path = socket.path_bytes().unwrap_or_default();
    String::from_utf8_lossy(path).into_owned()
}

/// Returns what a client waits for whose connection finds no room.
pub(super) fn backlog(peer: impl fmt::Display) -> String {
    format!("for room in the queue of the peer at {peer}, which is busy with other clients")
}

impl Stream {
    /// Makes a socket for `to`, not yet connected.
    pub(super) fn new(to: &Address) -> Result<Self> {
        let family = match to {
            Address::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Address::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Address::Unix(_) => AddressFamily::UNIX,
        };
        let blocking = to.connects_aside();
        let mut flags = SocketFlags::CLOEXEC;
        flags.set(SocketFlags::NONBLOCK, !blocking);
        let fd = socket_with(family, SocketType::STREAM, flags, None)?;
        Ok(Self {
            fd: OwnFd::new(fd)?,
            blocking,
            is_sliced: false,
        })
    }

    /// Begins to connect. TCP is told of the outcome by [`send`](Self::send) or
    /// [`established`](Self::established).
    pub(super) fn start(&mut self, to: &Address, deadline: Deadline) -> Result<()> {
        match to {
            Address::Tcp(to) if self.blocking => self.start_aside(to),
            Address::Tcp(to) => Ok(begun(connect(self.as_fd(), to))?),
            Address::Unix(to) => match retry_on_intr(|| connect(self.as_fd(), to)) {
                // The peer's backlog is full.
                Err(Errno::AGAIN) => self.queue_for(to, deadline),
                done => Ok(done?),
            },
        }
    }

    fn start_aside(&mut self, to: &SocketAddr) -> Result<()> {
        let flags = FAST_OPEN | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match begun(sendto(self.as_fd(), &[], flags, to).map(drop)) {
            // The kernel has no Fast Open: no failure of the network.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::PIPE | Errno::NOTCONN) => {
                NO_FAST_OPEN.store(true, Ordering::Relaxed);
                self.set_blocking(false)?;
                Ok(begun(connect(self.as_fd(), to))?)
            }
            done => Ok(done?),
        }
    }

    /// Waits for room in a unix socket's backlog, for which there is no poll.
    fn queue_for(&mut self, to: &SocketAddrUnix, deadline: Deadline) -> Result<()> {
        self.set_blocking(true)?;
        let mut waiting = LongWait::begin();
        loop {
            let left = waiting.next(deadline).remaining().unwrap_or(PATIENCE);
            if deadline.is_over() {
                return Err(Fault::TimedOut);
            }
            // Set in each round: signals would put the end off otherwise.
            sockopt::set_socket_timeout(
                self.as_fd(),
                sockopt::Timeout::Send,
                Some(left.max(Duration::from_millis(1))),
            )?;
            match connect(self.as_fd(), to) {
                Err(Errno::AGAIN) => waiting.log_if_long(|| backlog(named(to))),
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Waits until the connection is there.
    pub(super) fn established(&self, deadline: Deadline) -> Result<()> {
        wait(self, PollFlags::OUT, deadline)?;
        Ok(sockopt::socket_error(self.as_fd())??)
    }

    /// Switches the delay of small writes off (Nagle's algorithm). On a unix socket
    /// it does nothing.
    pub(in crate::transport) fn set_nodelay(&self) {
        let _ = sockopt::set_tcp_nodelay(self.as_fd(), true);
    }

    /// Acknowledges what comes at once, until the kernel thinks otherwise.
    pub(in crate::transport) fn acknowledge_at_once(&self) {
        let _ = sockopt::set_tcp_quickack(self.as_fd(), true);
    }

    /// Lets a slice of a wait without end be a single blocking read.
    pub(in crate::transport) fn set_blocking(&mut self, blocking: bool) -> Result<()> {
        if blocking && !self.is_sliced {
            sockopt::set_socket_timeout(self.as_fd(), sockopt::Timeout::Recv, Some(SLICE))?;
            self.is_sliced = true;
        }
        if self.blocking != blocking {
            ioctl_fionbio(self.as_fd(), !blocking)?;
            self.blocking = blocking;
        }
        Ok(())
    }

    /// Writes `head` and `body`, in one call if the peer takes all bytes.
    pub(in crate::transport) fn send(
        &self,
        head: &[u8],
        body: &[u8],
        deadline: Deadline,
    ) -> Result<()> {
        self.send_once_connected(head, body, deadline, deadline)
            .inspect_err(|fault| {
                if *fault == Fault::TimedOut {
                    self.discard();
                }
            })
    }

    /// Writes `head` and `body`. Nothing is sent unless the first byte can be by
    /// `connected`.
    pub(super) fn send_once_connected(
        &self,
        head: &[u8],
        body: &[u8],
        connected: Deadline,
        deadline: Deadline,
    ) -> Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut sent = 0;
        while sent < head.len() + body.len() {
            let done = match head.get(sent..) {
                Some(head) if !head.is_empty() => sendmsg(
                    self.as_fd(),
                    &[IoSlice::new(head), IoSlice::new(body)],
                    &mut SendAncillaryBuffer::default(),
                    flags,
                ),
                _ => send(self.as_fd(), &body[sent - head.len()..], flags),
            };
            match done {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if sent == 0 => wait(self, PollFlags::OUT, connected)?,
                Err(Errno::AGAIN) => {
                    wait(self, PollFlags::OUT, deadline).inspect_err(|_| self.discard())?
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Discards what was not sent when this is dropped: a peer that does not read
    /// would not read the end either.
    pub(super) fn discard(&self) {
        let _ = sockopt::set_socket_linger(self.as_fd(), Some(Duration::ZERO));
    }

    /// Waits until all that was sent has arrived at the peer's machine.
    pub(super) fn arrived(&self, deadline: Deadline) -> Result<()> {
        let mut looks = 0;
        let mut pause = ARRIVAL;
        while unacknowledged(self.as_fd())? > 0 {
            if deadline.is_over() {
                return Err(Fault::TimedOut);
            }
            looks += 1;
            match looks {
                0..LOOKS => std::thread::yield_now(),
                _ => {
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(LONG_ARRIVAL);
                }
            }
        }
        Ok(())
    }

    /// Returns whether the connection is established.
    pub(super) fn is_connected(&self) -> bool {
        matches!(getpeername(self.as_fd()), Ok(Some(_)))
    }

    /// Reads what is there, at least one byte, or none at the stream's end. Without
    /// a deadline it gives up after a slice of time, as by a timeout.
    pub(in crate::transport) fn recv(&self, into: &mut [u8], deadline: Deadline) -> Result<usize> {
        let is_endless = matches!(deadline, Deadline::Never);
        let wait_in_recv = self.blocking && self.is_sliced && is_endless;
        let deadline = match is_endless && !wait_in_recv {
            true => Deadline::after(Some(SLICE)),
            false => deadline,
        };
        let flags = match wait_in_recv {
            true => RecvFlags::empty(),
            false => RecvFlags::DONTWAIT,
        };
        loop {
            if !wait_in_recv && !matches!(deadline, Deadline::Now) {
                wait(self, PollFlags::IN, deadline)?;
            }
            match recv(self.as_fd(), &mut *into, flags) {
                Ok((_, count)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if wait_in_recv || matches!(deadline, Deadline::Now) => {
                    return Err(Fault::TimedOut);
                }
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until something has come, or the stream has ended.
    pub(in crate::transport) fn readable(&self, deadline: Deadline) -> Result<()> {
        wait(self, PollFlags::IN, deadline)
    }

    /// Fills `into`. Returns false if the stream ends before.
    pub(in crate::transport) fn recv_whole(
        &self,
        into: &mut [u8],
        deadline: Deadline,
    ) -> Result<bool> {
        let mut filled = 0;
        while filled < into.len() {
            match self.recv(&mut into[filled..], deadline)? {
                0 => return Ok(false),
                count => filled += count,
            }
        }
        Ok(true)
    }

    /// Returns whether nothing has come and the peer has not hung up.
    pub(in crate::transport) fn is_quiet(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        loop {
            match recv(self.as_fd(), &mut [0; 1], flags) {
                Err(Errno::INTR) => {}
                other => return other.err() == Some(Errno::AGAIN),
            }
        }
    }

    pub(in crate::transport) fn raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// Ends a connection over which nothing was sent. Returns false if the peer's
    /// machine did not acknowledge that at once.
    pub(super) fn leave(self, deadline: Deadline) -> bool {
        let _ = shutdown(self.as_fd(), Shutdown::Write);
        let left = self.arrived(deadline).is_ok();
        if !left {
            self.discard();
        }
        left
    }

    /// Ends the connection for every process that has a copy of it.
    pub(in crate::transport) fn end(self) {
        if self.fd.is_open() {
            let _ = shutdown(self.as_fd(), Shutdown::Both);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Turns a connection that is under way, or that a signal interrupted, into a success.
fn begun(done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match done {
        Err(Errno::INPROGRESS | Errno::INTR | Errno::ALREADY | Errno::ISCONN) => Ok(()),
        done => done,
    }
}

fn wait(stream: &Stream, flags: PollFlags, deadline: Deadline) -> Result<()> {
    match poll::one(stream.as_fd(), flags, deadline)? {
        true => Ok(()),
        false => Err(Fault::TimedOut),
    }
}
