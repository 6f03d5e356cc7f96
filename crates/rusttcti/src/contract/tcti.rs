// SPDX-License-Identifier: BSD-2-Clause
//! The trait that every transport and every layer is.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// A way to a TPM: it carries commands there and responses back. Every transport
/// and every layer is one.
///
/// Two methods are required. The others have defaults, which ask what is
/// [`below`](Self::below).
///
/// # A transport
///
/// [`Stream`](crate::Stream) is a whole transport over a byte stream. A type of
/// your own around it has a name and a configuration ([`Module`](crate::Module)),
/// and changes what it likes:
///
/// ```
/// use std::net::TcpStream;
/// use std::time::Duration;
///
/// use rusttcti::{Result, Stream, Tcti};
///
/// /// A TPM at the other end of a TCP connection.
/// struct Bridge(Stream<TcpStream>);
///
/// impl Tcti for Bridge {
///     fn transmit(&mut self, command: &[u8]) -> Result<()> {
///         self.0.transmit(command)
///     }
///
///     fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
///         self.0.receive(response, timeout)
///     }
///
///     fn below(&mut self) -> Option<&mut dyn Tcti> {
///         Some(&mut self.0)
///     }
/// }
/// ```
///
/// [`layer`](crate::layer) has a page for authors of layers.
///
/// # What the bridge does
///
/// The bridge shows a `Tcti` to C (see [`Context`](crate::Context)). It checks
/// every argument and every sequence of calls, keeps responses that did not fit,
/// and catches panics. A transport repeats none of that:
///
/// - `transmit` gets a whole, well-formed command.
/// - `receive` is called only between a `transmit` that succeeded and the response.
/// - No two calls run at once. They may come from one thread after another.
/// - In a forked child no call is made, nor is the value dropped, unless
///   [`after_fork`](Self::after_fork) succeeded there.
///
/// # What a transport sees to
///
/// - **Timeouts.** `transmit` never waits for the response. `receive` keeps what
///   has come when its time runs out.
/// - **Failures.** After one that ends the command, no late byte of its response
///   may be taken for the next.
/// - **Descriptors.** A forked child inherits them. One that must not stay open
///   there is closed in the child by other means (std's are closed on exec).
/// - **SIGPIPE.** It ends C programs. The bridge keeps it from the calls that it
///   makes, but not from threads of the transport's own. Those block all signals,
///   or write to sockets only, by std's `write` and `write_all`, which raise none.
/// - **Threads.** None is left when the value is dropped: the module's code may be
///   unloaded then.
pub trait Tcti: Send {
    /// Sends one whole command, of whatever length the caller's is. It may wait a
    /// few seconds for its peer to take the bytes, but not for the response: the
    /// caller has no timeout here. After a signal (EINTR) it goes on, as
    /// `write_all` does.
    ///
    /// # Errors
    /// Any; the context then stays as it was, and another command may be sent.
    fn transmit(&mut self, command: &[u8]) -> Result<()>;

    /// Receives the response to the command sent last, and returns its length
    /// in bytes.
    ///
    /// `response` is as long as the largest response
    /// ([`MAX_SIZE`](crate::Module::MAX_SIZE)). `timeout` is as in the standard
    /// library: `None` waits for ever, `Some(Duration::ZERO)` only looks.
    ///
    /// A transport that can only wait may do so whatever the timeout. Programs that
    /// send a command and wait for its end, as tpm2-tools do, notice nothing; one
    /// with an event loop stands still meanwhile.
    ///
    /// # Errors
    /// - [`ErrorKind::TryAgain`] when the time runs out first. What has come of the
    ///   response is kept here, and `receive` will be called again. Without a
    ///   timeout it is the wrong answer: programs call again at once, for ever.
    /// - An error made from one of std's of the kind `Interrupted`, with or without
    ///   [context](crate::Error::context): a signal came in between. The bridge
    ///   calls again at once, with the time that is left.
    /// - [`BadValue`](ErrorKind::BadValue), [`BadReference`](ErrorKind::BadReference)
    ///   and [`InsufficientBuffer`](ErrorKind::InsufficientBuffer): the caller is
    ///   expected to ask again otherwise. The response stays awaited, and no command
    ///   can be sent. A command that failed has another kind: std's `InvalidInput`,
    ///   such as EINVAL, would become `BadValue`, and is to be given one.
    /// - Any other: the command failed, and the next call is a `transmit`. Bytes of
    ///   its response that come late are drained by the transport, or lost with the
    ///   connection. [`ErrorKind::leaves_command_pending`] tells the two apart.
    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize>;

    /// Returns what this layer stands on; `None`, the default, for a transport.
    ///
    /// A layer is `transmit`, `receive`, `below`, and what it changes: each
    /// optional method that it doesn't have asks what is below.
    fn below(&mut self) -> Option<&mut dyn Tcti> {
        None
    }

    /// Returns a handle that cancels the command under way, from any thread,
    /// also while another one waits in [`receive`](Self::receive). The bridge asks
    /// for it after each `transmit`. The default asks what is [`below`](Self::below);
    /// `None` where commands cannot be cancelled.
    ///
    /// A transport that gives one before the first `transmit`, and none after a
    /// later one, has executed that command already: to cancel it then does
    /// nothing, and is no failure.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.below()?.canceller()
    }

    /// Returns the descriptors that an event loop polls to learn when
    /// [`receive`](Self::receive) makes progress. They may be asked for at any
    /// time, also before the first command.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where there are none to give: by default
    /// where nothing is [`below`](Self::below).
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        match self.below() {
            Some(below) => below.poll_handles(),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Sets the locality of the commands to come: 0 to 4, or 32 to 255
    /// (extended localities). The bridge lets no other value through, and none
    /// while a response is awaited; nor does it call
    /// [`make_sticky`](Self::make_sticky) or [`reset`](Self::reset) then.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] by default where nothing is
    /// [`below`](Self::below); [`ErrorKind::BadValue`] for a locality that this
    /// TPM cannot have.
    fn set_locality(&mut self, locality: u8) -> Result<()> {
        match self.below() {
            Some(below) => below.set_locality(locality),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Makes an object outlive its client's connection to a resource manager
    /// (`sticky`) or not, and returns the handle that it has then.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where there is no resource manager: by
    /// default where nothing is [`below`](Self::below).
    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        match self.below() {
            Some(below) => below.make_sticky(handle, sticky),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Power-cycles the TPM: permanent state stays, all else is lost. The C
    /// interface has no such call: rusttcti's own module has a function for it,
    /// `Tss2_Tcti_Rusttcti_Reset`; those that [`export!`](crate::export) makes
    /// have none.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] where the TPM's power is not ours: by
    /// default where nothing is [`below`](Self::below).
    fn reset(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.reset(),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Makes this value usable in a forked child, by a connection of its own to
    /// the same TPM. The bridge calls it at most once in each child, before any
    /// other method. The parent's connection must stay as it is.
    ///
    /// # Errors
    /// [`ErrorKind::BadContext`] where the child cannot use what its parent
    /// opened: by default where nothing is [`below`](Self::below).
    fn after_fork(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.after_fork(),
            None => Err(inherited()),
        }
    }

    /// Returns what is known of the TPM at the other end, for the layer `rm`.
    /// Not a part of the contract.
    #[doc(hidden)]
    fn peer(&mut self) -> Option<Peer> {
        self.below()?.peer()
    }

    /// Ends the connection. Called once, last; dropping follows, also after a
    /// failure. A response may still be awaited. When the value is dropped a
    /// module may be unloaded, its code included: no thread of the transport's
    /// may be left by then. The default ends what is [`below`](Self::below).
    ///
    /// # Errors
    /// Any. C cannot be told (`finalize` returns nothing there); the log is.
    fn finalize(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.finalize(),
            None => Ok(()),
        }
    }
}

/// Says that a forked child cannot use what its parent opened.
#[cold]
pub(crate) fn inherited() -> Error {
    Error::new(
        ErrorKind::BadContext,
        "this context was opened before fork() and belongs to the parent process; \
         open one of its own in the child",
    )
}

/// What is known of the TPM that it reaches.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// A name that all contexts of this process on one TPM have, and no other.
    pub identity: Option<String>,
    /// Whether no other program uses this TPM at the same time.
    pub is_exclusive: bool,
    /// Whether it is the kernel's resource manager, with its three objects and
    /// three sessions.
    pub is_kernel_manager: bool,
}

/// Refuses a locality that no TPM has.
pub(crate) fn check_locality(locality: u8) -> Result<()> {
    match locality {
        5..=31 => Err(Error::new(
            ErrorKind::BadValue,
            format!("no TPM has a locality {locality} (they are 0 to 4 and 32 to 255)"),
        )),
        _ => Ok(()),
    }
}

/// Cancels a command, from any thread (see [`Tcti::canceller`]).
///
/// ```
/// use std::io::Write;
/// use std::net::TcpStream;
///
/// use rusttcti::{Cancel, Result};
///
/// /// A line of its own to the machine with the TPM.
/// struct Control(TcpStream);
///
/// impl Cancel for Control {
///     fn cancel(&self) -> Result<()> {
///         Ok((&self.0).write_all(b"cancel\n")?)
///     }
/// }
/// // In `Tcti`, of an `Arc<Control>`: fn canceller(&mut self) { Some(self.control.clone()) }
/// ```
pub trait Cancel: Send + Sync {
    /// Asks the TPM to give the command up. [`Tcti::receive`] then brings
    /// the TPM's answer, `TPM_RC_CANCELED` or the command's own result. The
    /// bridge sees to it that no `cancel` runs during a `transmit`.
    ///
    /// # Errors
    /// Any; the command goes on.
    fn cancel(&self) -> Result<()>;
}

/// A descriptor and the events to poll it for (`TSS2_TCTI_POLL_HANDLE`).
///
/// ```
/// use std::net::TcpListener;
/// use std::os::fd::AsRawFd;
///
/// use rusttcti::PollHandle;
///
/// let socket = TcpListener::bind("127.0.0.1:0")?;
/// // In `Tcti`: fn poll_handles(&mut self) { Ok(vec![...]) }
/// let handle = PollHandle::readable(socket.as_raw_fd());
/// assert_eq!((handle.fd, handle.events), (socket.as_raw_fd(), 1)); // POLLIN
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollHandle {
    /// The file descriptor; it stays the transport's own.
    pub fd: RawFd,
    /// The events of poll(2) to wait for.
    pub events: i16,
}

impl PollHandle {
    /// A descriptor to be polled until it is readable (`POLLIN`).
    pub fn readable(fd: RawFd) -> Self {
        Self {
            fd,
            events: rustix::event::PollFlags::IN.bits() as i16,
        }
    }
}

impl<T: Tcti + ?Sized> Tcti for Box<T> {
    fn transmit(&mut self, command: &[u8]) -> Result<()> {
        (**self).transmit(command)
    }

    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
        (**self).receive(response, timeout)
    }

    fn below(&mut self) -> Option<&mut dyn Tcti> {
        (**self).below()
    }

    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        (**self).canceller()
    }

    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        (**self).poll_handles()
    }

    fn set_locality(&mut self, locality: u8) -> Result<()> {
        (**self).set_locality(locality)
    }

    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        (**self).make_sticky(handle, sticky)
    }

    fn reset(&mut self) -> Result<()> {
        (**self).reset()
    }

    fn after_fork(&mut self) -> Result<()> {
        (**self).after_fork()
    }

    fn peer(&mut self) -> Option<Peer> {
        (**self).peer()
    }

    fn finalize(&mut self) -> Result<()> {
        (**self).finalize()
    }
}
