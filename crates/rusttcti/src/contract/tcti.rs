// SPDX-License-Identifier: BSD-2-Clause
//! The trait of every transport and every layer.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// A connection to a TPM, which carries commands and responses. Every transport and
/// every layer is one.
///
/// Two methods are required. The others have defaults, which ask the `Tcti`
/// [`below`](Self::below).
///
/// # A transport
///
/// [`Stream`](crate::Stream) is a whole transport over a byte stream. Your own type
/// around it adds a name and a configuration ([`Module`](crate::Module)), and changes
/// any method:
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
/// The bridge exports a `Tcti` to C (see [`Context`](crate::Context)). It checks every
/// argument and every sequence of calls, keeps responses that did not fit, and catches
/// panics. A transport need not repeat this:
///
/// - `transmit` gets a whole, well-formed command.
/// - `receive` is called only between a `transmit` that succeeded and the response.
/// - No two calls run at once. They may come from one thread after another.
/// - In a forked child the bridge makes no call and does not drop the value, unless
///   [`after_fork`](Self::after_fork) succeeded there.
///
/// # The duties of a transport
///
/// - **Timeouts.** `transmit` never waits for the response. `receive` keeps the bytes
///   that have come when its time runs out.
/// - **Failures.** After an error that ends the command, no late byte of its response
///   may be taken for the next response.
/// - **Descriptors.** A forked child inherits them. The standard library's are closed
///   on exec; a descriptor that must not stay open in a child without exec has to be
///   closed there by other means.
/// - **SIGPIPE.** It ends C programs. The bridge blocks it during the calls that it
///   makes, but not in the transport's own threads. Those block all signals, or write
///   only to sockets, with std's `write` and `write_all`, which raise no SIGPIPE.
/// - **Threads.** None is left when the value is dropped: the module's code may be
///   unloaded then.
pub trait Tcti: Send {
    /// Sends one whole command, of the length that the caller gave. It may wait a few
    /// seconds until its peer takes the bytes, but not for the response: the caller has
    /// no timeout here. After a signal (EINTR) it goes on, as `write_all` does.
    ///
    /// # Errors
    /// Any; the context's state does not change then, and another command may be sent.
    fn transmit(&mut self, command: &[u8]) -> Result<()>;

    /// Receives the response to the command sent last, and returns its length
    /// in bytes.
    ///
    /// `response` is as long as the largest response
    /// ([`MAX_SIZE`](crate::Module::MAX_SIZE)). `timeout` is as in the standard
    /// library: `None` waits for ever, `Some(Duration::ZERO)` does not wait.
    ///
    /// A transport that can only block may ignore the timeout. Programs that send a
    /// command and wait for its end, as tpm2-tools do, notice no difference; an event
    /// loop stands still meanwhile.
    ///
    /// # Errors
    /// - [`ErrorKind::TryAgain`] when the time runs out first. The transport keeps the
    ///   bytes that have come, and `receive` will be called again. Do not return it if
    ///   there is no timeout: programs would call again at once, for ever.
    /// - An error made from a std error of the kind `Interrupted`, with or without
    ///   [context](crate::Error::context): a signal came in between. The bridge calls
    ///   again at once, with the remaining time.
    /// - [`BadValue`](ErrorKind::BadValue), [`BadReference`](ErrorKind::BadReference)
    ///   and [`InsufficientBuffer`](ErrorKind::InsufficientBuffer): the caller is
    ///   expected to call again with other arguments. The response stays awaited, and
    ///   no command can be sent. Give a failed command another kind: std's
    ///   `InvalidInput`, such as EINVAL, would become `BadValue`.
    /// - Any other: the command failed, and the next call is a `transmit`. The
    ///   transport drains bytes of the response that come late, or closes the
    ///   connection. [`ErrorKind::leaves_command_pending`] tells the two cases apart.
    fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize>;

    /// Returns the `Tcti` below this layer; `None`, the default, for a transport.
    ///
    /// A layer implements `transmit`, `receive`, `below`, and the methods that it
    /// changes. Each optional method that it lacks asks the `Tcti` below.
    fn below(&mut self) -> Option<&mut dyn Tcti> {
        None
    }

    /// Returns a handle that cancels the command under way, from any thread, also while
    /// another thread waits in [`receive`](Self::receive). The bridge asks for it after
    /// each `transmit`. The default asks the `Tcti` [`below`](Self::below); `None`
    /// means that commands cannot be cancelled.
    ///
    /// A transport may return a canceller before the first `transmit` and `None` after
    /// a later one. The bridge then takes that command as already executed: to cancel
    /// it does nothing, and is no failure.
    fn canceller(&mut self) -> Option<Arc<dyn Cancel>> {
        self.below()?.canceller()
    }

    /// Returns the descriptors that an event loop polls to learn when
    /// [`receive`](Self::receive) makes progress. They may be asked for at any
    /// time, also before the first command.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] if the transport has none; by default if there is
    /// no `Tcti` [`below`](Self::below).
    fn poll_handles(&mut self) -> Result<Vec<PollHandle>> {
        match self.below() {
            Some(below) => below.poll_handles(),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Sets the locality of later commands: 0 to 4, or 32 to 255 (extended localities).
    /// The bridge passes no other value. While a response is awaited, it calls neither
    /// this nor [`make_sticky`](Self::make_sticky) nor [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] by default if there is no `Tcti`
    /// [`below`](Self::below); [`ErrorKind::BadValue`] for a locality that this TPM
    /// cannot have.
    fn set_locality(&mut self, locality: u8) -> Result<()> {
        match self.below() {
            Some(below) => below.set_locality(locality),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Makes an object outlive its client's connection to a resource manager (`sticky`)
    /// or not, and returns the object's new handle.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] if there is no resource manager; by default if
    /// there is no `Tcti` [`below`](Self::below).
    fn make_sticky(&mut self, handle: u32, sticky: bool) -> Result<u32> {
        match self.below() {
            Some(below) => below.make_sticky(handle, sticky),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Power-cycles the TPM: permanent state stays, all else is lost. The C interface
    /// has no such call. rusttcti's own module has the function
    /// `Tss2_Tcti_Rusttcti_Reset` for it; modules made by [`export!`](crate::export)
    /// have none.
    ///
    /// # Errors
    /// [`ErrorKind::NotImplemented`] if the transport does not control the TPM's power;
    /// by default if there is no `Tcti` [`below`](Self::below).
    fn reset(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.reset(),
            None => Err(ErrorKind::NotImplemented.into()),
        }
    }

    /// Makes this value usable in a forked child, with a new connection to the same
    /// TPM. The bridge calls it at most once in each child, before any other method.
    /// The parent's connection must not change.
    ///
    /// # Errors
    /// [`ErrorKind::BadContext`] if the child cannot use the transport that its parent
    /// opened; by default if there is no `Tcti` [`below`](Self::below).
    fn after_fork(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.after_fork(),
            None => Err(inherited()),
        }
    }

    /// Returns the known facts about the TPM, for the layers `rm` and `wrap`. It is not part of the
    /// contract.
    #[doc(hidden)]
    fn peer(&mut self) -> Option<Peer> {
        self.below()?.peer()
    }

    /// Ends the connection. It is called once, as the last call; the value is dropped
    /// next, also after a failure. A response may still be awaited. After the drop a
    /// module may be unloaded with its code, so no thread of the transport may be left.
    /// The default finalizes the `Tcti` [`below`](Self::below).
    ///
    /// # Errors
    /// Any. C's `finalize` returns nothing, so the error goes to the log.
    fn finalize(&mut self) -> Result<()> {
        match self.below() {
            Some(below) => below.finalize(),
            None => Ok(()),
        }
    }
}

/// Returns the error that a forked child cannot use the parent's transport.
#[cold]
pub(crate) fn inherited() -> Error {
    Error::new(
        ErrorKind::BadContext,
        "this context was opened before fork() and belongs to the parent process; \
         open one of its own in the child",
    )
}

/// The known facts about the TPM that a transport reaches.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The name that all contexts of this process on one TPM share, and no other has.
    pub identity: Option<String>,
    /// Whether no other program uses this TPM at the same time.
    pub is_exclusive: bool,
    /// Whether the connection goes to the kernel's resource manager, which holds three
    /// objects and three sessions.
    pub is_kernel_manager: bool,
    /// Whether a layer below answers GetCapability with the program's own view of
    /// handles (`rm`).
    pub has_view: bool,
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
    /// Asks the TPM to give the command up. [`Tcti::receive`] then returns the TPM's
    /// response: `TPM_RC_CANCELED` or the command's own result. The bridge runs no
    /// `cancel` during a `transmit`.
    ///
    /// # Errors
    /// Any; the command goes on then.
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
    /// The file descriptor; the transport still owns it.
    pub fd: RawFd,
    /// The events of poll(2) to wait for.
    pub events: i16,
}

impl PollHandle {
    /// Returns a handle to be polled until it is readable (`POLLIN`).
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
