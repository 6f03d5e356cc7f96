// SPDX-License-Identifier: BSD-2-Clause
//! Tests a TCTI, in C or in Rust, against the promises of the TCTI specification and
//! the needs of careful callers.
//!
//! Each check has a name and a sentence. It runs in a separate child process, so that a
//! crash or a hang fails that check only. Its outcome is pass, fail with the
//! observation, or not applicable with the reason.
//!
//! ```no_run
//! use rusttcti_kit::{Subject, check};
//!
//! let report = check(&Subject::module("swtpm:port=2321")?);
//! print!("{report}");
//! assert!(report.passed());
//! # Ok::<(), rusttcti::Error>(())
//! ```
//!
//! In the tests of a crate, [`conformance!`](macro@crate::conformance) makes a test that
//! runs all checks, on the module that the crate exports or on a transport in Rust:
//!
//! ```
//! rusttcti_kit::conformance!(|| rusttcti::open("libtpms"));
//! # fn main() {}
//! ```

mod checks;
mod child;
mod report;
mod subject;

pub use report::{Outcome, Report, Row};
pub use subject::Subject;

use subject::Opened;

/// The reason that a check does not pass.
#[derive(Debug)]
pub(crate) enum NotPassed {
    /// A broken promise, with the observation.
    Broken(String),
    /// A promise that does not concern this TCTI, with the reason.
    NotApplicable(String),
}

/// The result of a check.
pub(crate) type Verdict = Result<(), NotPassed>;

/// One promise.
#[derive(Clone, Copy)]
pub struct Check {
    /// The name, as in `receive-without-command`.
    pub name: &'static str,
    /// The promise, as a sentence.
    pub promise: &'static str,
    pub(crate) run: fn(&Subject) -> Verdict,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.promise)
    }
}

/// Returns all checks, in the order in which they run.
pub fn checks() -> Vec<Check> {
    checks::all()
}

/// Runs every check on `subject`, each in a child process of its own.
pub fn check(subject: &Subject) -> Report {
    check_only(subject, &[])
}

/// Runs the checks whose name contains one of `words`; all checks if there are none.
pub fn check_only(subject: &Subject, words: &[&str]) -> Report {
    let wanted = |check: &Check| words.is_empty() || words.iter().any(|w| check.name.contains(w));
    let rows = checks().into_iter().filter(wanted).map(|check| {
        subject.renew();
        let outcome = child::run(&check, subject);
        Row { check, outcome }
    });
    Report {
        subject: subject.name().to_owned(),
        rows: rows.collect(),
    }
}

/// Makes a test named `conformance` that runs every check of the kit.
///
/// `conformance!(module Tss2_Tcti_Info, CONF)` tests the module that `rusttcti::export!`
/// makes of the crate, as programs use it. CONF is a string, evaluated in the test; without
/// it, the module gets NULL. If the transport needs a peer, CONF is a block that starts it:
///
/// ```
/// # use rusttcti::{Module, Result, Stream, Tcti};
/// # use std::{ffi::CStr, net::TcpStream, time::Duration};
/// # struct Mine(Stream<TcpStream>);
/// # impl Tcti for Mine {
/// #     fn transmit(&mut self, command: &[u8]) -> Result<()> { self.0.transmit(command) }
/// #     fn receive(&mut self, response: &mut [u8], timeout: Option<Duration>) -> Result<usize> {
/// #         self.0.receive(response, timeout)
/// #     }
/// # }
/// # impl Module for Mine {
/// #     const NAME: &'static CStr = c"mine";
/// #     const DESCRIPTION: &'static CStr = c"";
/// #     const CONFIG_HELP: &'static CStr = c"";
/// #     fn init(_: Option<&str>) -> Result<Self> { Err(rusttcti::ErrorKind::BadValue.into()) }
/// # }
/// rusttcti::export!(Mine, Tss2_Tcti_Mine_Init);
///
/// rusttcti_kit::conformance!(module Tss2_Tcti_Info, {
///     rusttcti_kit::raw_server::a_tpm_for_each_connection()
/// });
/// # fn main() {}
/// ```
///
/// `conformance!(OPEN)` tests a transport or a chain in Rust. `OPEN` is a closure, called in
/// each check's own process as often as the check needs a context. It returns a
/// `rusttcti::Result` of a `Tcti`. The checks of Init functions do not apply to it.
/// `conformance!(NAME, OPEN)` gives the test another name.
///
/// There is a TPM 2.0 at the other end, which may be changed. The test program starts itself
/// again for this test alone, so other tests may run at the same time: the checks fork, and
/// the threads and descriptors of other tests would disturb them.
#[macro_export]
macro_rules! conformance {
    (@test $name:ident, $subject:expr) => {
        #[test]
        fn $name() {
            $crate::again::alone(::core::module_path!(), ::core::stringify!($name), || {
                let report = $crate::check(&$subject);
                assert!(report.passed(), "{report}");
            });
        }
    };
    (module $info:path) => {
        $crate::conformance!(@test conformance, $crate::Subject::exported($info, None));
    };
    (module $info:path, $conf:expr) => {
        $crate::conformance!(@test conformance, $crate::Subject::exported($info, Some(&*$conf)));
    };
    ($open:expr) => {
        $crate::conformance!(conformance, $open);
    };
    ($name:ident, $open:expr) => {
        $crate::conformance!(@test $name, $crate::Subject::transport($open));
    };
}

/// Fails the check with a formatted sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)*) => {
        if !$condition {
            return Err($crate::conformance::NotPassed::Broken(format!($($sentence)*)));
        }
    };
}
pub(crate) use ensure;
