// SPDX-License-Identifier: BSD-2-Clause
//! Waits for a peer that is being restarted: `wait=SECONDS`.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use crate::config::setting::Setting;
use crate::sys::long_wait::LongWait;
use crate::{Error, ErrorKind, Result, config};

/// The key of the time to wait for a peer.
pub(in crate::transport) const WAIT: Setting = Setting {
    key: "wait",
    value: "SECONDS",
    default: "0",
    text: "How long to wait for a peer that is not there, when it is opened and before each \
           command is sent, 0 to 3600 seconds. This hides a restart between two commands. A \
           command that was sent to a peer that ends is not sent again, and fails. A TPM that \
           was restarted has lost its objects and sessions, and may need TPM2_Startup.",
};
/// The most seconds.
const MOST: u64 = 3600;
/// The pause before the second attempt. Each later one is twice as long, up to the
/// longest.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Parses the value of `wait`.
pub(in crate::transport) fn parse_wait(who: &str, value: &str) -> Result<Duration> {
    match value.parse() {
        Ok(seconds) if seconds <= MOST => Ok(Duration::from_secs(seconds)),
        _ => {
            let allowed = "a number of seconds from 0 to 3600";
            Err(config::bad_value(who, WAIT.key, value, allowed))
        }
    }
}

/// Repeats `attempt` while there is no connection, for the time `wait`. `attempt` must
/// not have sent a whole command if it fails with that error.
pub(in crate::transport) fn until_there<T>(
    wait: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    match attempt() {
        Err(error) if error.kind() == ErrorKind::NoConnection && !wait.is_zero() => {
            again(wait, error, attempt)
        }
        done => done,
    }
}

#[cold]
fn again<T>(wait: Duration, mut error: Error, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let seconds = wait.as_secs();
    let mut waiting = LongWait::begin();
    let mut pause = PAUSE;
    loop {
        let left = wait.saturating_sub(waiting.elapsed());
        if left.is_zero() {
            let text = format!("{error} (waited {seconds} s, by wait={seconds})");
            return Err(Error::new(ErrorKind::NoConnection, text));
        }
        thread::sleep(pause.min(left));
        pause = (2 * pause).min(LONGEST_PAUSE);
        match attempt() {
            Err(again) if again.kind() == ErrorKind::NoConnection => error = again,
            done => return done,
        }
        waiting.log_if_long(|| format!("up to {seconds} s, by wait={seconds}: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails so often that there is no connection.
    fn after(failures: u32, wait: Duration) -> (u32, Result<u32>) {
        let mut attempts = 0;
        let result = until_there(wait, || {
            attempts += 1;
            match attempts > failures {
                true => Ok(attempts),
                false => Err(Error::new(ErrorKind::NoConnection, "nobody")),
            }
        });
        (attempts, result)
    }

    #[test]
    fn a_peer_that_comes_is_waited_for_and_only_where_that_is_wanted() {
        assert_eq!(after(4, Duration::from_secs(60)).1.ok(), Some(5));
        let (attempts, result) = after(1, Duration::ZERO);
        assert_eq!(attempts, 1);
        assert_eq!(result.expect_err("nobody").to_string(), "nobody");
    }

    #[test]
    fn a_peer_that_does_not_come_is_told_with_how_long_it_was_waited_for() {
        let (attempts, result) = after(u32::MAX, Duration::from_secs(1));
        assert!(attempts > 2, "{attempts}");
        let error = result.expect_err("nobody");
        assert_eq!(error.kind(), ErrorKind::NoConnection);
        assert_eq!(error.to_string(), "nobody (waited 1 s, by wait=1)");
    }

    #[test]
    fn any_other_failure_ends_the_wait() {
        let refused = || Err::<(), _>(ErrorKind::BadValue.into());
        let error = until_there(Duration::from_secs(60), refused).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::BadValue);
    }
}
