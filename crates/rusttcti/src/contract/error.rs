// SPDX-License-Identifier: BSD-2-Clause
//! The failures of a TCTI: a kind, a sentence and a cause, and how they print.

#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use super::kind::{ErrorKind, kind_of_rc, tcti_rc};

/// A result whose error is a TCTI [`Error`].
///
/// ```
/// fn size(response: &[u8]) -> rusttcti::Result<u8> {
///     Ok(*response.get(5).ok_or(rusttcti::ErrorKind::MalformedResponse)?)
/// }
/// assert_eq!(size(&[0x80, 0x01, 0, 0, 0, 10])?, 10);
/// # Ok::<(), rusttcti::Error>(())
/// ```
pub type Result<T> = std::result::Result<T, Error>;

type Cause = Box<dyn StdError + Send + Sync>;

/// A TCTI failure: its [`ErrorKind`], a sentence that describes it, and its cause. It
/// is one pointer wide and cheap to clone.
///
/// ```
/// use rusttcti::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NoConnection, "the serial line is unplugged");
/// assert_eq!(error.kind(), ErrorKind::NoConnection);
/// assert_eq!(error.rc(), 0x000a_0008); // TSS2_TCTI_RC_NO_CONNECTION
/// assert_eq!(error.to_string(), "the serial line is unplugged");
///
/// // The interrupted action goes in front; the kind and the code stay.
/// let error = error.context("cannot open /dev/ttyS0");
/// assert_eq!(error.report(), "cannot open /dev/ttyS0: the serial line is unplugged");
///
/// // The cause is kept, with its type.
/// let eof = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
/// let error = Error::with_source(ErrorKind::NoConnection, "it hung up", eof);
/// assert!(error.get_ref().is_some_and(|cause| cause.is::<std::io::Error>()));
///
/// // A code of another part of the stack passes unchanged.
/// assert_eq!(Error::from_rc(0x0000_0101).rc(), 0x101); // TPM_RC_FAILURE
/// let error = Error::from_rc_with(0x000a_000a, "the relay's line is dead");
/// assert_eq!(error.kind(), ErrorKind::IoError);
/// ```
#[derive(Clone)]
pub struct Error(Repr);

#[derive(Clone)]
enum Repr {
    /// A kind alone, without allocation, for failures that are part of normal use
    /// (TRY_AGAIN).
    Kind(ErrorKind),
    /// A response code alone.
    Rc(u32),
    Full(Arc<Full>),
}

struct Full {
    kind: ErrorKind,
    rc: u32,
    message: Option<String>,
    source: Option<Cause>,
    /// The place in the sources that made the error.
    location: &'static Location<'static>,
}

impl Error {
    /// Returns an error of `kind` because of `cause`, which is a sentence or another
    /// error. It prints as the cause does. The cause is its
    /// [`source`](StdError::source), and can be downcast from there.
    #[track_caller]
    pub fn new(kind: ErrorKind, cause: impl Into<Cause>) -> Self {
        Self(Repr::Full(Arc::new(Full {
            kind,
            rc: tcti_rc(kind),
            message: None,
            source: Some(cause.into()),
            location: Location::caller(),
        })))
    }

    /// Returns an error of `kind`, with its own sentence and its cause.
    #[track_caller]
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Cause>,
    ) -> Self {
        Self(Repr::Full(Arc::new(Full {
            kind,
            rc: tcti_rc(kind),
            message: Some(message.into()),
            source: Some(source.into()),
            location: Location::caller(),
        })))
    }

    /// Returns an error that passes the `TSS2_RC` of another part of the stack on,
    /// unchanged. 0 (success) is no error code and becomes a general failure.
    pub fn from_rc(rc: u32) -> Self {
        if rc == 0 {
            return Self::new(
                ErrorKind::GeneralFailure,
                "success was reported as an error",
            );
        }
        Self(Repr::Rc(rc))
    }

    /// Returns an error of a foreign `TSS2_RC`, with a sentence about the action that
    /// failed.
    #[track_caller]
    pub fn from_rc_with(rc: u32, message: impl Into<String>) -> Self {
        if rc == 0 {
            return Self::from_rc(rc);
        }
        let kind = kind_of_rc(rc);
        Self(Repr::Full(Arc::new(Full {
            kind,
            rc,
            message: Some(message.into()),
            source: None,
            location: Location::caller(),
        })))
    }

    /// Returns an error that names the action, with this error as its cause. The kind
    /// and the response code stay.
    #[track_caller]
    pub fn context(self, message: impl Into<String>) -> Self {
        let (kind, rc) = (self.kind(), self.rc());
        let location = self.location().unwrap_or(Location::caller());
        Self(Repr::Full(Arc::new(Full {
            kind,
            rc,
            message: Some(message.into()),
            source: Some(Box::new(self)),
            location,
        })))
    }

    /// Returns the kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            Repr::Kind(kind) => *kind,
            Repr::Rc(rc) => kind_of_rc(*rc),
            Repr::Full(full) => full.kind,
        }
    }

    /// Returns the `TSS2_RC` for a C caller: never 0.
    pub fn rc(&self) -> u32 {
        match &self.0 {
            Repr::Kind(kind) => tcti_rc(*kind),
            Repr::Rc(rc) => *rc,
            Repr::Full(full) => full.rc,
        }
    }

    /// Returns the place in the sources that made the innermost cause; `None` for an
    /// error that is a kind or a code alone.
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        match &self.0 {
            Repr::Full(full) => Some(full.location),
            _ => None,
        }
    }

    /// Returns the cause that this error was made from, if there is one.
    pub fn get_ref(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &self.0 {
            Repr::Full(full) => full.source.as_deref(),
            _ => None,
        }
    }

    /// Returns whether a signal interrupted the call, before the time ran out. The I/O
    /// error tells, whatever context a layer put in front of it.
    pub(crate) fn is_interruption(&self) -> bool {
        if self.kind() != ErrorKind::TryAgain {
            return false;
        }
        let mut source = self.source();
        while let Some(cause) = source {
            let error = cause.downcast_ref::<io::Error>();
            if error.is_some_and(|error| error.kind() == io::ErrorKind::Interrupted) {
                return true;
            }
            source = cause.source();
        }
        false
    }

    /// Returns the whole text of an error that is a kind alone.
    pub(crate) fn message_without_allocation(&self) -> Option<&'static str> {
        match &self.0 {
            Repr::Kind(kind) => Some(kind.text()),
            Repr::Rc(rc) if *rc == tcti_rc(kind_of_rc(*rc)) => Some(kind_of_rc(*rc).text()),
            _ => None,
        }
    }

    /// Returns the sentence and those of all causes in one line, as
    /// `Tss2_Tcti_Rusttcti_LastError` and the log show them.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        for cause in self.causes() {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    }

    /// Returns the sentences of the causes, without those that an earlier sentence
    /// contains.
    fn causes(&self) -> Vec<String> {
        let mut told = self.to_string();
        let mut causes = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            let sentence = cause.to_string();
            if !contains_cause(&told, &sentence) {
                told.push_str(&sentence);
                causes.push(sentence);
            }
            source = cause.source();
        }
        causes
    }
}

/// Returns whether `text` already contains `cause`, also without the number of an I/O
/// error.
fn contains_cause(text: &str, cause: &str) -> bool {
    let words = cause.split(" (os error ").next().unwrap_or(cause);
    text.to_lowercase().contains(&words.to_lowercase())
}

impl From<ErrorKind> for Error {
    /// Returns an error that is a kind alone; it allocates no memory.
    fn from(kind: ErrorKind) -> Self {
        Self(Repr::Kind(kind))
    }
}

impl From<io::Error> for Error {
    /// Returns an error of the nearest kind, with the I/O error as its source. A
    /// timeout (`WouldBlock`, a reader's own `TimedOut`) is [`ErrorKind::TryAgain`],
    /// and so is `Interrupted`; the system's ETIMEDOUT means that the peer is gone.
    #[track_caller]
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::WouldBlock => return ErrorKind::TryAgain.into(),
            io::ErrorKind::TimedOut if error.raw_os_error().is_none() => {
                return ErrorKind::TryAgain.into();
            }
            // `read_exact` returns this if the peer is gone, with a text that names a
            // buffer, not the peer.
            io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => {
                let gone = "the other end closed the connection";
                return Self::with_source(ErrorKind::NoConnection, gone, error);
            }
            io::ErrorKind::Interrupted => ErrorKind::TryAgain,
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => ErrorKind::NoConnection,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => ErrorKind::NoConnection,
            io::ErrorKind::PermissionDenied => ErrorKind::NotPermitted,
            io::ErrorKind::InvalidInput => ErrorKind::BadValue,
            io::ErrorKind::InvalidData => ErrorKind::MalformedResponse,
            io::ErrorKind::Unsupported => ErrorKind::NotSupported,
            io::ErrorKind::OutOfMemory => ErrorKind::Memory,
            _ => ErrorKind::IoError,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Kind(kind) => kind.fmt(f),
            Repr::Rc(rc) => write!(f, "{} (response code 0x{rc:08x})", kind_of_rc(*rc)),
            Repr::Full(full) => match (&full.message, &full.source) {
                (Some(message), _) => f.write_str(message),
                (None, Some(source)) => source.fmt(f),
                (None, None) => full.kind.fmt(f),
            },
        }
    }
}

impl fmt::Debug for Error {
    /// Writes the sentence and, below it, the causes that the sentence does not
    /// contain: a `main` that returns an error prints this. `{:#?}` shows the parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return f
                .debug_struct("Error")
                .field("kind", &self.kind())
                .field("rc", &format_args!("0x{:08x}", self.rc()))
                .field("message", &format_args!("{self}"))
                .field("source", &self.source())
                .finish();
        }
        write!(f, "{self}")?;
        let causes = self.causes();
        if let [only] = &causes[..] {
            return write!(f, "\n\nCaused by:\n    {only}");
        }
        for (number, cause) in causes.iter().enumerate() {
            let head = if number == 0 { "\n\nCaused by:" } else { "" };
            write!(f, "{head}\n    {number}: {cause}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.get_ref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_its_response_code_are_each_others_image() {
        for &kind in ErrorKind::ALL {
            let rc = Error::from(kind).rc();
            assert_eq!(rc >> 16, 10, "the TCTI layer");
            assert_eq!(Error::from_rc(rc).kind(), kind);
        }
    }

    #[test]
    fn a_response_code_of_another_layer_passes_unchanged() {
        assert_eq!(Error::from_rc(0x000b_0009).rc(), 0x000b_0009);
        assert_eq!(Error::from_rc(0x000b_0009).kind(), ErrorKind::TryAgain);
        assert_eq!(
            Error::from_rc(0x0000_0101).kind(),
            ErrorKind::GeneralFailure
        );
        assert_eq!(Error::from_rc(0x0000_0101).context("sending").rc(), 0x101);
    }

    #[test]
    fn success_is_never_an_error_s_response_code() {
        assert_ne!(Error::from_rc(0).rc(), 0);
        assert_ne!(Error::from_rc_with(0, "nothing").rc(), 0);
    }

    #[test]
    fn a_report_tells_the_whole_chain_and_nothing_twice() {
        let refused = io::Error::from_raw_os_error(111);
        let error = Error::from(refused).context("cannot connect to localhost:2321");
        assert_eq!(
            error.report(),
            "cannot connect to localhost:2321: Connection refused (os error 111)"
        );
        assert_eq!(error.kind(), ErrorKind::NoConnection);
    }

    #[test]
    fn a_peer_that_closed_the_connection_is_named_and_words_of_one_s_own_are_kept() {
        let error = Error::from(io::Read::read_exact(&mut io::empty(), &mut [0]).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert_eq!(error.to_string(), "the other end closed the connection");
        let own = io::Error::new(io::ErrorKind::UnexpectedEof, "the line is cut");
        assert_eq!(Error::from(own).report(), "the line is cut");
    }

    #[test]
    fn a_cause_that_a_sentence_tells_itself_is_not_told_again() {
        let refused = io::Error::from_raw_os_error(111);
        let inner = Error::with_source(ErrorKind::NoConnection, "connection refused by x", refused);
        let error = inner.context("cannot open: connection refused by x");
        assert_eq!(error.report(), "cannot open: connection refused by x");
    }

    #[test]
    fn debug_prints_the_sentence_and_its_causes_as_anyhow_does() {
        let refused = io::Error::from_raw_os_error(111);
        let error = Error::from(refused).context("cannot connect");
        assert_eq!(
            format!("{error:?}"),
            "cannot connect\n\nCaused by:\n    Connection refused (os error 111)"
        );
        let error = error.context("cannot open the TPM");
        assert_eq!(
            format!("{error:?}"),
            "cannot open the TPM\n\nCaused by:\n    0: cannot connect\n    \
             1: Connection refused (os error 111)"
        );
        let plain = Error::new(ErrorKind::IoError, "the line is dead");
        assert_eq!(format!("{plain:?}"), "the line is dead");
    }

    #[test]
    fn the_cause_can_be_downcast() {
        let error = Error::from(io::Error::other("odd")).context("reading");
        let inner = error
            .source()
            .and_then(|e| e.downcast_ref::<Error>())
            .expect("an Error");
        assert!(inner.source().is_some_and(|e| e.is::<io::Error>()));
    }
}
