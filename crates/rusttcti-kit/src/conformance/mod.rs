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
//! In the tests of a transport, [`conformance!`](macro@crate::conformance) makes a test that
//! runs all checks:
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

/// Makes a test named `conformance` (or `$name`) that runs every check of the kit
/// on the transport that `$open` opens. `$open` is called in each check's own
/// process, as often as the check needs a context; it returns a
/// `rusttcti::Result` of a `Tcti` with a TPM 2.0 at its other end, or a TPM alone.
#[macro_export]
macro_rules! conformance {
    ($open:expr) => {
        $crate::conformance!(conformance, $open);
    };
    ($name:ident, $open:expr) => {
        #[test]
        fn $name() {
            let report = $crate::check(&$crate::Subject::transport($open));
            assert!(report.passed(), "{report}");
        }
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
