// SPDX-License-Identifier: BSD-2-Clause
//! `key=value` strings, as tpm2-tss's transports and our layers take them.

#![forbid(unsafe_code)]

use crate::{Error, ErrorKind, Result};

/// The pairs of `key=value,key=value` (tpm2-tss's syntax: no escapes), in order.
/// An empty string has none.
///
/// # Errors
/// [`ErrorKind::BadValue`] where a pair has no `=` or no key.
pub(crate) fn pairs(conf: &str) -> Result<Vec<(&str, &str)>> {
    conf.split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key, value)),
            _ => Err(Error::new(
                ErrorKind::BadValue,
                format!(
                    "\"{pair}\" in the configuration \"{conf}\" is not of the form key=value \
                     (as in port=2321)"
                ),
            )),
        })
        .collect()
}

/// What a key that `who` does not have is answered with.
pub(crate) fn unknown_key(who: &str, key: &str, allowed: &[&str]) -> Error {
    let allowed = if allowed.is_empty() {
        "none".to_owned()
    } else {
        allowed.join(", ")
    };
    Error::new(
        ErrorKind::BadValue,
        format!("{who} has no option \"{key}\" (its options: {allowed})"),
    )
}

/// What a value that `key` of `who` can't have is answered with.
pub(crate) fn bad_value(who: &str, key: &str, value: &str, allowed: &str) -> Error {
    Error::new(
        ErrorKind::BadValue,
        format!("{who}: {key}={value} is not allowed ({key} is {allowed})"),
    )
}

/// A TCP port: 1 to 65535.
pub(crate) fn port(who: &str, value: &str) -> Result<u16> {
    match value.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(bad_value(who, "port", value, "a number from 1 to 65535")),
    }
}
